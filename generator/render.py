"""Jinja2's wall: from a schema document to the text of every file that it makes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError

from traceleft import record_layout
from traceleft.errors import FormatError
from traceleft.generator.decoder_model import decoder_context
from traceleft.generator.handler_model import handler_context
from traceleft.generator.stack_model import STACK_RECORD_BYTES
from traceleft.linux import MAX_ERROR
from traceleft.version import __version__

# How many elements of a vector are taken where there are no loops: bounded by the 4,096 instructions of old kernels.
# How many handlers are reached by a jump: as tracer/session/direct_jumps.py gives them out.
BOUNDS: Final = {"strings_max": 8, "iovec_max": 4, "stack_record_bytes": STACK_RECORD_BYTES, "near_max": 16}
_PARTS: Final = {
    "event_header": record_layout.HEADER,
    "slot": record_layout.SLOT,
    "stack_ids": record_layout.STACK_IDS,
}
_HEADERS: Final = "types record maps saved filter task rollup emit capture stack vector syscall exec tracepoint"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("traceleft.templates", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        # Templates do not change while they are rendered.
        auto_reload=False,
    )


def dump_document(document: Mapping[str, Any]) -> str:
    """Give the canonical JSON of a document: keys sorted, one line, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"


def templates_digest() -> str:
    """Give the digest over every template, so that a battery tells what made it."""
    environment = _environment()
    digest = hashlib.sha256()
    for name in sorted(environment.list_templates(extensions=["j2"])):
        digest.update(f"{name}\0".encode())
        source, _, _ = _loader(environment).get_source(environment, name)
        digest.update(source.encode())
    return f"sha256:{digest.hexdigest()}"


def _loader(environment: Environment) -> PackageLoader:
    assert isinstance(environment.loader, PackageLoader)
    return environment.loader


def render_handler(name: str, event: Mapping[str, Any], structs: Mapping[str, Any]) -> str:
    """Give the C of one event's handler."""
    context = handler_context(name, event, structs)
    return _render("handler.bpf.c.j2", **context)


def render_decoder(name: str, event: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Give the typed Python decoder of one event."""
    return _render("decoder.py.j2", **decoder_context(name, event, document))


def _render(template: str, **context: object) -> str:
    return _environment().get_template(template).render(version=__version__, **context)


def _shared_files() -> Iterator[tuple[str, str]]:
    context = {**BOUNDS, "record": record_layout, "parts": _PARTS, "max_error": MAX_ERROR}
    for header in _HEADERS.split():
        yield f"include/{header}.h", _render(f"include/{header}.h.j2", **context)
    yield "core.c", _render("core.c.j2", **BOUNDS)


def render_sources(document: Mapping[str, Any]) -> dict[str, str]:
    """Give every C file of a schema document: relative path to text.

    Raises FormatError for a document that `generate` does not write. Its numbers and names must have been checked: they
    stand in C as they are.
    """
    files = dict(_shared_files())
    try:
        structs = document["tables"]["structs"]
        for name, event in document["events"].items():
            files[f"{name}.bpf.c"] = render_handler(name, event, structs)
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as exc:
        raise FormatError("describes an event that cannot be rendered") from exc
    return files


def render(document: Mapping[str, Any]) -> dict[str, str]:
    """Give every file of a schema document: relative path to text."""
    files = render_sources(document)
    for name, event in document["events"].items():
        files[f"decoders/{name.replace(':', '__')}.py"] = render_decoder(name, event, document)
    files["schema.json"] = dump_document(document)
    return dict(sorted(files.items()))
