"""C declarations → `CType`: the only module that uses pycparser."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

from pycparser import c_ast, c_parser

from traceleft.errors import FormatError

MAX_DECLARATION: Final = 256
MAX_DEPTH: Final = 8
POINTER_WIDTH: Final = 8

Kind = Literal["integer", "boolean", "enum", "pointer", "struct", "union", "array", "function", "void", "unknown"]

_ALLOWED = re.compile(r"[A-Za-z0-9_*\[\] ]+", re.ASCII)
_TOKEN = re.compile(r"\w+|\S", re.ASCII)
# What the kernel's own headers put into declarations and C does not know.
_ANNOTATIONS: Final = frozenset({"__user", "__kernel", "__force", "__iomem", "__rcu", "__percpu", "restrict"})
_TAGS: Final = frozenset({"struct", "union", "enum"})
_BASIC: Final = frozenset(
    {"void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "const", "volatile", "_Bool"}
)
_WIDTHS: Final[Mapping[str, int]] = {"char": 1, "short": 2, "int": 4, "long": 8}


@dataclass(frozen=True, slots=True)
class CType:
    """A C type on a 64-bit kernel.

    `name` is the typedef's name as declared, else `struct X`, `union X`, `enum X` or the integer type's own;
    `width` is in bytes and 0 where the type is incomplete; `pointee` is what a pointer leads to or an array
    consists of.
    """

    kind: Kind
    name: str
    width: int = 0
    signed: bool = False
    pointee: "CType | None" = None
    count: int = 0
    const: bool = False

    @property
    def is_pointer(self) -> bool:
        """True for an address."""
        return self.kind == "pointer"

    @property
    def is_scalar(self) -> bool:
        """True for what fits a register and is not an address."""
        return self.kind in ("integer", "boolean", "enum")


class _UnknownTypeError(Exception):
    """A declaration cannot be read; its text is the message."""


def read_type(declaration: str, *, file: str | None = None, line: int | None = None) -> CType:
    """Read an abstract declaration such as `const char *const *`; `file` and `line` name its place in errors.

    A pointer to an unknown type is a pointer; an unknown type by value is a FormatError.
    """
    try:
        return _read_cached(declaration)
    except _UnknownTypeError as exc:
        raise FormatError(str(exc), file=file, line=line) from exc


@lru_cache(maxsize=4096)
def _read_cached(declaration: str) -> CType:
    tokens = _tokenise(declaration)
    ctype = _convert(_parse_declaration(tokens), _typedefs())
    if ctype.kind == "unknown":
        raise _UnknownTypeError(f"type `{declaration}` is unknown, so its width is unknown as well")
    return ctype


def _tokenise(declaration: str) -> list[str]:
    if len(declaration) > MAX_DECLARATION:
        raise _UnknownTypeError(f"type is longer than {MAX_DECLARATION} characters")
    if not _ALLOWED.fullmatch(declaration):
        raise _UnknownTypeError(f"type {declaration!r} is not a C type")
    if declaration.count("*") + declaration.count("[") > MAX_DEPTH:
        raise _UnknownTypeError(f"type has more than {MAX_DEPTH} pointers and arrays in it")
    return [token for token in _TOKEN.findall(declaration) if token not in _ANNOTATIONS]


def _parse_declaration(tokens: list[str]) -> Any:
    """Parse `tokens` as the type of one variable, its typedef names declared to the parser beforehand."""
    names = sorted(
        {
            token
            for before, token in zip(["", *tokens], tokens, strict=False)
            if token.isidentifier() and token not in _BASIC and before not in _TAGS and token not in _TAGS
        }
    )
    typedefs = "".join(f"typedef int {name};" for name in names)
    parsed = _parse(f"{typedefs} void f({' '.join(tokens)});", " ".join(tokens))
    parameters = getattr(parsed.ext[-1].type, "args", None)
    if len(parsed.ext) != len(names) + 1 or parameters is None or len(parameters.params) != 1:
        raise _UnknownTypeError(f"`{' '.join(tokens)}` is not a C type")
    if not isinstance(parameters.params[0], c_ast.Typename):
        raise _UnknownTypeError(f"`{' '.join(tokens)}` has a name in it")
    return parameters.params[0].type


def _parse(source: str, shown: str) -> Any:
    # pycparser raises ParseError, but also AssertionError and AttributeError on some malformed text.
    try:
        return _parser().parse(source)
    except (c_parser.ParseError, AssertionError, AttributeError, RecursionError, ValueError) as exc:
        raise _UnknownTypeError(f"`{shown}` is not a C type") from exc


@cache
def _parser() -> c_parser.CParser:
    return c_parser.CParser()


@cache
def _typedefs() -> Mapping[str, CType]:
    """Return the types behind the names of `data/prelude.h`."""
    text = files("traceleft.generator").joinpath("data/prelude.h").read_text()
    source = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    typedefs: dict[str, CType] = {}
    for node in _parse(source, "prelude.h").ext:
        typedefs[node.name] = replace(_convert(node.type, typedefs), name=node.name)
    return typedefs


def _convert(node: Any, typedefs: Mapping[str, CType]) -> CType:
    match node:
        case c_ast.PtrDecl():
            pointee = _convert(node.type, typedefs)
            return CType("pointer", f"{pointee.name} *", POINTER_WIDTH, pointee=pointee, const="const" in node.quals)
        case c_ast.ArrayDecl():
            return _convert_array(node, typedefs)
        case c_ast.FuncDecl():
            return CType("function", "function")
        case c_ast.TypeDecl() | c_ast.Typename():
            return replace(_convert(node.type, typedefs), const="const" in node.quals)
        case c_ast.Struct():
            return CType("struct", f"struct {node.name}")
        case c_ast.Union():
            return CType("union", f"union {node.name}")
        case c_ast.Enum():
            return CType("enum", f"enum {node.name}", 4)
        case c_ast.IdentifierType():
            return _convert_names(node.names, typedefs)
        case _:
            return CType("unknown", type(node).__name__)


def _convert_array(node: Any, typedefs: Mapping[str, CType]) -> CType:
    element = _convert(node.type, typedefs)
    dimension = node.dim.value if isinstance(node.dim, c_ast.Constant) else ""
    count = int(dimension) if dimension.isdecimal() and len(dimension) <= 5 else 0
    return CType("array", f"{element.name}[]", element.width * count, element.signed, element, count)


def _convert_names(names: list[str], typedefs: Mapping[str, CType]) -> CType:
    """Apply C's rules to the words of an integer type, or look a typedef up."""
    name = " ".join(names)
    if name == "void":
        return CType("void", "void")
    if name == "_Bool":
        return CType("boolean", "bool", 1)
    if not set(names) <= _BASIC - {"float", "double"}:
        return typedefs.get(name, CType("unknown", name))
    size = next((word for word in ("char", "short", "long", "int") if word in names), "int")
    return CType("integer", name, _WIDTHS[size], "unsigned" not in names)
