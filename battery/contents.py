"""What a battery's schemas say of events, as far as showing and comparing need it: checked, and bounded."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.battery.level import sort_levels
from traceleft.battery.manifest import Digest, EventName, Line, one_line
from traceleft.battery.store import Battery
from traceleft.errors import BatteryError

Short = Annotated[str, Meta(max_length=100, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]


class Field(Struct, frozen=True):
    """An argument of a syscall, a field of a tracepoint."""

    name: Short
    type: Line
    kind: Short
    index: Annotated[int, Meta(ge=0, le=4096)]

    def __str__(self) -> str:
        return f"{self.name}: {self.type} ({self.kind})"


class Layout(Struct, frozen=True):
    """How an event's records are laid out."""

    digest: Digest


class EventView(Struct, frozen=True):
    """An event of a release."""

    kind: Literal["syscall", "tracepoint"]
    number: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] | None
    format: Digest
    layout: Layout
    args: Annotated[tuple[Field, ...], Meta(max_length=4096)]
    aliases: Annotated[tuple[Short, ...], Meta(max_length=64)] = ()
    classes: Annotated[tuple[Short, ...], Meta(max_length=64)] = ()
    borrowed: bool = False


class _Schema(Struct, frozen=True):
    events: dict[EventName, EventView]


def view_events(battery: Battery, release: str) -> dict[str, EventView]:
    """Return the events that a release of a battery has objects of, by name, sorted."""
    held = battery.release(release).events
    try:
        schema = msgspec.json.decode(battery.schema_bytes(release), type=_Schema)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BatteryError(f"damaged schema of {release}: {one_line(exc)}", path=str(battery.path)) from exc
    return {name: event for name, event in sorted(schema.events.items()) if name in held}


def levels_of(battery: Battery, event: str) -> tuple[str, ...]:
    """Return the levels that an event has objects for in some release."""
    releases = battery.manifest.releases.values()
    return sort_levels({level for release in releases for level in release.events.get(event, {})})


def list_events(battery: Battery) -> dict[str, tuple[EventView, tuple[str, ...]]]:
    """Return each event of a battery as its newest release has it, with the releases that have it, oldest first."""
    found: dict[str, tuple[EventView, tuple[str, ...]]] = {}
    for release in battery.releases:
        for name, event in view_events(battery, release).items():
            found[name] = (event, (*(found[name][1] if name in found else ()), release))
    return dict(sorted(found.items()))


def change_of(before: EventView, after: EventView) -> dict[str, object]:
    """Return what differs between two of one event: fields by index, number, layout; empty where only text differs."""
    fields = _changed_fields(before, after)
    changed: dict[str, object] = {"fields": fields} if fields else {}
    if before.number != after.number:
        changed["number"] = [before.number, after.number]
    if before.layout.digest != after.layout.digest:
        changed["layout"] = [before.layout.digest, after.layout.digest]
    return changed


def _changed_fields(before: EventView, after: EventView) -> list[dict[str, object]]:
    old, new = ({field.index: str(field) for field in event.args} for event in (before, after))
    return [
        {"index": index, "before": old.get(index), "after": new.get(index)}
        for index in sorted(old.keys() | new.keys())
        if old.get(index) != new.get(index)
    ]


def compare(before: Mapping[str, EventView], after: Mapping[str, EventView]) -> dict[str, object]:
    """Return what changed from one release's events to another's."""
    both = sorted(before.keys() & after.keys())
    changes = {name: change for name in both if (change := change_of(before[name], after[name]))}
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": changes,
        "format_only": [name for name in both if name not in changes and before[name].format != after[name].format],
    }
