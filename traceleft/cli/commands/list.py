"""The command ``list``: the running kernel's events and their fields."""

import json
from collections.abc import Mapping
from typing import Any

import click

from traceleft.cli.option_types import expression_option
from traceleft.terminal import say


@click.command("list")
@expression_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def list_command(expressions: tuple[str, ...], as_json: bool) -> None:
    """Show the running kernel's events and their typed fields.

    Without -e it shows every syscall and the events that every battery has; -e /:/ shows the other tracepoints.
    """
    from traceleft.generator import describe
    from traceleft.tracer.schema.core import DOCUMENTS, part

    formats, own = part(expressions)
    events = describe(None, expressions=formats).document["events"] if formats or not expressions else {}
    for name, event in (*events.items(), *((name, DOCUMENTS[name]) for name in own)):
        say(json.dumps(summary(name, event)) if as_json else signature(name, event))


def signature(name: str, event: Mapping[str, Any]) -> str:
    """Return an event on one line: each field with its C type, and how it is shown where that says more."""
    fields = ", ".join(f"{field['name']}: {field['type']} ({kind_of(field)})" for field in event["args"])
    return f"{name}({fields})"


def summary(name: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one line of ``list --json`` holds."""
    keys = ("kind", "number", "aliases", "classes")
    fields = [{key: field[key] for key in ("name", "type", "width", "signed", "kind")} for field in event["args"]]
    return {"event": name, **{key: event[key] for key in keys}, "fields": fields}


def kind_of(field: dict[str, Any]) -> str:
    """Return a field's kind, with the name of the set or struct that it is one of."""
    return " ".join([field["kind"], *(field[key] for key in ("set", "struct") if key in field)])
