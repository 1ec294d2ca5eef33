"""What the decoder's template prints, worked out from an event of the schema.

Pure: the schema document's event in, names, types, expressions and literals out.
"""

import json
import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from traceleft.record_layout import HEADER, HEADER_COLUMNS, SLOT, WORD_BYTES, slots_offset

Event = Mapping[str, Any]
"""An event of the schema document, as docs/reference/schema.md has it."""

NARROW_KINDS: Final = frozenset({"fd", "dirfd", "pid"})

# Names that mean something else inside the class that has the arguments as attributes.
TAKEN: Final = frozenset({"int", "str", "list", "dict", "to_dict", "args"})

HELPERS: Final = ("compile_set", "show_char", "show_dirfd", "show_pointer", "show_uid", "show_wait_status")

TYPES: Final = {
    **dict.fromkeys(("int", "mode", "fd", "dev", "pid", "uid"), "int"),
    **dict.fromkeys(("hex", "set", "char", "futex_wake_op", "none"), "str"),
    **dict.fromkeys(("pointer", "path", "text", "buffer"), "str | None"),
    **dict.fromkeys(("struct", "sockaddr", "msghdr"), "dict[str, Value] | str | None"),
    **dict.fromkeys(("array", "strings", "iovec", "sigset", "fdset"), "list[Value] | str | None"),
    **dict.fromkeys(("value", "bytes"), "Value"),
    "dirfd": "int | str",
    "wait_status": "dict[str, Value]",
}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One argument as the typed class has it; ``reader`` is empty where the expression needs none.

    One that ``may_be_absent`` is ABSENT in calls that do not have it.
    """

    name: str
    attribute: str
    type: str
    expression: str
    constant: str = ""
    reader: str = ""
    may_be_absent: bool = False


def decoder_context(name: str, event: Event, document: Mapping[str, Any]) -> dict[str, object]:
    """Give all that ``decoder.py.j2`` prints for one event of a schema document."""
    attributes = list(_attributes(event, document["tables"]["sets"]))
    return {
        "name": name,
        "source": format_name(name, event),
        "class_name": class_name(name),
        "may_be_absent": any(attribute.may_be_absent for attribute in attributes),
        "document": literal(event_document(name, event, document)),
        "columns": literal(columns(event, document), 1),
        "attributes": attributes,
        "readers": [attribute for attribute in attributes if attribute.reader],
        "casts": any("cast(" in attribute.expression for attribute in attributes),
        "imports": _imports(attributes),
    }


def format_name(name: str, event: Event) -> str:
    """Give the name of the format that an event comes from."""
    return name.replace(":", "/") if event["kind"] == "tracepoint" else f"syscalls/sys_enter_{name}"


def class_name(name: str) -> str:
    """Give an event's name as a class has it: ``sched:sched_switch`` is ``SchedSchedSwitch``."""
    words = "".join(character if character.isalnum() else " " for character in name).split()
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else f"Event{joined}"


def attribute_names(names: Sequence[str]) -> list[str]:
    """Give the attributes for arguments: their names, unless Python or the class uses them."""
    given: list[str] = []
    for name in names:
        attribute = f"{name.strip('_') or 'arg'}_" if name.startswith("__") else name
        while keyword.iskeyword(attribute) or attribute in TAKEN or attribute in given:
            attribute += "_"
        given.append(attribute)
    return given


def _attributes(event: Event, sets: Mapping[str, Any]) -> Iterator[Attribute]:
    args = event["args"]
    names = attribute_names([arg["name"] for arg in args])
    for arg, attribute in zip(args, names, strict=True):
        field = f"fields[{len(HEADER.fields) + arg['index']}]"
        if "slot" in arg:
            kind = "dict[str, Value] | None" if "slot_out" in arg else TYPES[arg["kind"]]
            kind = "Value" if "cases" in arg or arg.get("show") == "bits" else kind
            constant = f"READ_{arg['index']}"
            read = f"{constant}(fields, data, notes)"
            expression = read if kind == "Value" else f'cast("{kind}", {read})'
            reader = f'DECODER.reader("{arg["name"]}")'
            yield Attribute(arg["name"], attribute, kind, expression, constant, reader, _may_be_absent(arg))
        elif "cases" in arg or (arg["kind"] == "int" and "set" in arg):
            constant, kind = f"READ_{arg['index']}", _union(arg)
            expression = f'cast("{kind}", {constant}(fields, data, notes))'
            reader = f'DECODER.reader("{arg["name"]}")'
            yield Attribute(arg["name"], attribute, kind, expression, constant, reader, _may_be_absent(arg))
        elif arg["kind"] == "set":
            constant = f"SHOW_{arg['index']}"
            width = _width(arg, sets)
            reader = f'compile_set(DECODER.tables.sets["{arg["set"]}"], {width})'
            yield Attribute(arg["name"], attribute, "str", f"{constant}({field})", constant, reader)
        else:
            yield Attribute(arg["name"], attribute, TYPES[arg["kind"]], _scalar(arg, field))


def _imports(attributes: Sequence[Attribute]) -> list[str]:
    """Give the names that the rendered code takes from ``traceleft.tracer.generated``."""
    used = "".join(attribute.expression + attribute.reader for attribute in attributes)
    helpers = {name for name in HELPERS if f"{name}(" in used}
    helpers |= {"ABSENT"} if any(attribute.may_be_absent for attribute in attributes) else set()
    # Constants stand before classes, and these before functions, as ruff sorts them.
    return sorted(
        {"Header", "Notes", "Value", "make_decoder", "read_header"} | helpers,
        key=lambda name: (not name.isupper(), name[0].islower(), name),
    )


def _scalar(arg: Mapping[str, Any], field: str) -> str:
    match arg["kind"]:
        case "hex":
            return f"hex({field})"
        case "pointer":
            return f"show_pointer({field})"
        case "char":
            return f"show_char({field})"
        case "uid":
            return f"show_uid({field}, {arg['width']})"
        case "dirfd":
            return f"show_dirfd({field})"
        case "wait_status":
            return f"show_wait_status({field})"
    return field


def _union(arg: Mapping[str, Any]) -> str:
    """Give the type of a scalar that has cases, or names for some of its values."""
    kinds = [arg, *_cases(arg)]
    types = {part for kind in kinds for part in TYPES[kind["kind"]].split(" | ")}
    types |= {"str"} if any(kind["kind"] == "int" and "set" in kind for kind in kinds) else set()
    return " | ".join(sorted(types, key=lambda name: (name == "None", name)))


def _cases(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Give what a value may be instead, by its cases and those within them."""
    cases = item.get("cases", {"kinds": {}})["kinds"].values()
    return [inner for case in cases for inner in (case, *_cases(case))]


def _may_be_absent(arg: Mapping[str, Any]) -> bool:
    return any(case["kind"] == "none" for case in _cases(arg))


def _width(arg: Mapping[str, Any], sets: Mapping[str, Any]) -> int:
    """Give the bytes of a register that count: descriptors, pids and sets may have fewer than their type."""
    if arg["kind"] in NARROW_KINDS:
        return min(int(arg["width"]), 4)
    return min(int(arg["width"]), int(sets[arg["set"]]["width"])) if "set" in arg else int(arg["width"])


def columns(event: Event, document: Mapping[str, Any]) -> dict[str, object]:
    """Give the columns of an event's fixed part, as ``numpy.dtype`` takes them."""
    prefix = "<" if document["byte_order"] == "little" else ">"
    listed = [(name, code if code[0] == "S" else prefix + code, offset) for name, code, offset in HEADER_COLUMNS]
    taken = {name for name, _, _ in HEADER_COLUMNS}
    slots = event["layout"]["slots"]
    for arg in event["args"]:
        column = f"arg_{arg['name']}" if arg["name"] in taken else arg["name"]
        listed.append((column, *_arg_column(arg, prefix, document["tables"]["sets"])))
        for key, name in (("slot", arg["name"]), ("slot_out", f"{arg['name']}_out")):
            if key in arg:
                place = slots[arg[key]]["offset"]
                listed += [
                    (f"{name}.{each.column}", prefix + each.column_type, place + each.offset) for each in SLOT.fields
                ]
    names, formats, offsets = (list(column) for column in zip(*listed, strict=True))
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": event["layout"]["fixed_size"]}


def _arg_column(arg: Mapping[str, Any], prefix: str, sets: Mapping[str, Any]) -> tuple[str, int]:
    width = 8 if "slot" in arg else _width(arg, sets)
    signed = "slot" not in arg and (arg["kind"] in NARROW_KINDS or (arg["kind"] == "int" and arg["signed"]))
    offset = slots_offset(arg["index"]) + (0 if prefix == "<" else WORD_BYTES - width)
    return f"{prefix}{'i' if signed else 'u'}{width}", offset


def event_document(name: str, event: Event, document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the schema document of one event, with the tables that it needs and no more."""
    tables = document["tables"]
    sets: dict[str, Any] = {}
    structs: dict[str, Any] = {}
    waiting = list(event["args"])
    if isinstance(event.get("ret"), Mapping):
        waiting.append(event["ret"])
    while waiting:
        item = waiting.pop()
        if "set" in item:
            sets[item["set"]] = tables["sets"][item["set"]]
        if "element" in item:
            waiting.append(item["element"])
        waiting += _cases(item)
        if "struct" in item and item["struct"] not in structs:
            structs[item["struct"]] = tables["structs"][item["struct"]]
            waiting += structs[item["struct"]]["members"]
    head = {key: document[key] for key in ("schema", "machine", "byte_order", "release")}
    return {**head, "events": {name: event}, "tables": {"sets": sets, "structs": structs, "errno": {}}}


def literal(value: object, depth: int = 0) -> str:
    """Give a JSON-able value as Python, one item a line and keys sorted, as ``ruff format`` leaves it."""
    if isinstance(value, Mapping) and value:
        items = [f"{_text(str(key))}: {literal(item, depth + 1)}" for key, item in sorted(value.items())]
        return _block("{", items, "}", depth)
    if isinstance(value, list | tuple) and value:
        return _block("[", [literal(item, depth + 1) for item in value], "]", depth)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    return _text(value) if isinstance(value, str) else repr(value)


def _block(opening: str, items: list[str], closing: str, depth: int) -> str:
    inner, outer = "    " * (depth + 1), "    " * depth
    return "\n".join([opening, *(f"{inner}{item}," for item in items), f"{outer}{closing}"])


def _text(text: str) -> str:
    """Give a string in double quotes, in single ones where that saves escapes."""
    quoted = json.dumps(text)
    if '"' in text and "'" not in text:
        return "'" + quoted[1:-1].replace('\\"', '"') + "'"
    return quoted
