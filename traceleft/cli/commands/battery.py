"""The commands ``battery ...``: batteries looked at, checked, tried, compared, packed, signed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traceleft.cli.table import print_table
from traceleft.errors import BatteryError
from traceleft.terminal import say, tell

if TYPE_CHECKING:
    from traceleft.battery import Battery
    from traceleft.battery.guest.qualify import Seen

PASSPHRASE = "TRACELEFT_PASSPHRASE"
OFFENCES_SHOWN = 20
PLACE = click.Path(path_type=Path)
place_argument = click.argument("path", metavar="PATH", type=PLACE)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class OrderedGroup(click.Group):
    """A group that shows its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work."""
        return list(self.commands)


@click.group("battery", cls=OrderedGroup)
def battery_command() -> None:
    """Look at a battery, check it, try it on kernels, compare, pack and sign it."""


@battery_command.command("list")
@place_argument
@json_option
def list_command(path: Path, as_json: bool) -> None:
    """Show the events of a battery: their levels, and the releases that have them.

    With --json: one object a line, with the fields.
    """
    from traceleft.battery import Battery
    from traceleft.battery.contents import levels_of, list_events

    battery = Battery.read(path)
    events = list_events(battery)
    if as_json:
        for name, (event, releases) in events.items():
            say(json.dumps(event_json(name, event, levels_of(battery, name), releases)))
        return
    count = len(battery.releases)
    rows = [
        (
            name,
            "" if event.number is None else str(event.number),
            " ".join(levels_of(battery, name)),
            f"all {count}" if len(releases) == count > 1 else " ".join(releases),
        )
        for name, (event, releases) in events.items()
    ]
    print_table(("EVENT", "NUMBER", "LEVELS", "RELEASES"), rows, right=(1,))


def event_json(name: str, event: Any, levels: tuple[str, ...], releases: tuple[str, ...]) -> dict[str, object]:
    """Return what one line of ``battery list --json`` holds."""
    fields = [{"name": field.name, "type": field.type, "kind": field.kind} for field in event.args]
    return {
        "event": name,
        "kind": event.kind,
        "number": event.number,
        "aliases": event.aliases,
        "classes": event.classes,
        "levels": levels,
        "releases": releases,
        "fields": fields,
    }


@battery_command.command("show")
@place_argument
@json_option
def show_command(path: Path, as_json: bool) -> None:
    """Show what a battery holds: releases, levels with their floors and sizes, evidence, signature."""
    from traceleft.battery import Battery

    summary = summarise(Battery.read(path))
    if as_json:
        say(json.dumps(summary))
        return
    show_summary(path, summary)


def summarise(battery: "Battery") -> dict[str, Any]:
    """Return what ``battery show`` shows."""
    from traceleft.battery.level import sort_levels
    from traceleft.battery.manifest import objects_digest
    from traceleft.battery.since import Kernel

    manifest = battery.manifest
    held = [(level, entry) for entry in manifest.objects.values() for level in entry.sources]
    by_level = {
        level: [entry for each, entry in held if each == level] for level in sort_levels({each for each, _ in held})
    }
    return {
        "machine": manifest.machine,
        "byte_order": manifest.byte_order,
        "traceleft": manifest.traceleft,
        "compiler": manifest.compiler.version,
        "digest": manifest.digest,
        "signed_by": signer(battery),
        "objects": len(manifest.objects),
        "bytes": sum(entry.size for entry in manifest.objects.values()),
        "releases": {
            name: {
                "events": len(manifest.releases[name].events),
                "levels": sort_levels(manifest.releases[name].core),
                "borrowed": manifest.releases[name].borrowed,
            }
            for name in battery.releases
        },
        "levels": {
            level: {
                "objects": len(entries),
                "bytes": sum(entry.size for entry in entries),
                "floor": str(max(Kernel.parse(entry.floor) for entry in entries)),
            }
            for level, entries in by_level.items()
        },
        "evidence": [
            {name: getattr(each, name) for name in each.__struct_fields__ if name != "objects"}
            | {"current": each.objects == objects_digest(manifest, each.level)}
            for each in manifest.evidence
        ],
    }


def signer(battery: "Battery") -> str | None:
    """Return the fingerprint of the key that a battery says it is signed with; None where it is not signed."""
    from traceleft.battery.signature import FILE, read_signature

    return read_signature(battery)[0].fingerprint if os.path.lexists(battery.path / FILE) else None


def show_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Print what ``battery show`` shows as text."""
    say(f"{path}: {summary['objects']} objects, {summary['bytes']:,} bytes, for {summary['machine']}")
    say(f"made by traceleft {summary['traceleft']}, {summary['compiler']}")
    say(summary["digest"])
    say(f"signed by {summary['signed_by']}" if summary["signed_by"] else "not signed")
    say()
    releases = [
        (name, str(each["events"]), " ".join(each["levels"]), " ".join(each["borrowed"]) or "-")
        for name, each in summary["releases"].items()
    ]
    print_table(("RELEASE", "EVENTS", "LEVELS", "BORROWED"), releases, right=(1,))
    say()
    levels = [(name, str(e["objects"]), f"{e['bytes']:,}", e["floor"]) for name, e in summary["levels"].items()]
    print_table(("LEVEL", "OBJECTS", "BYTES", "FLOOR"), levels, right=(1, 2))
    if not summary["evidence"]:
        say()
        say("no evidence from real kernels; see: docs/reference/batteries.md")
        return
    columns = ("kernel", "date", "level", "hook", "built", "loaded", "attached", "made", "delivered")
    say()
    evidence = [tuple(str(each[column]) for column in columns) for each in summary["evidence"]]
    print_table([column.upper() for column in columns], evidence, right=range(4, 9))


@battery_command.command("check")
@place_argument
@click.option("--kernel", metavar="V", help="Ask whether this kernel can load an object of every event.")
def check_command(path: Path, kernel: str | None) -> int:
    """Read what every object does and needs: nothing but trace, on its level.

    \b
    The exit status is 0 if every object does nothing but trace (helpers, types
    of maps, no pins) and none needs a newer kernel than its level's first, with
    --kernel if that kernel can load an object of every event; else 1.
    """
    from traceleft.battery import Battery
    from traceleft.battery.proof import check_kernel, check_levels, check_objects
    from traceleft.battery.since import Kernel

    battery = Battery.read(path)
    asked = None if kernel is None else Kernel.parse(kernel)
    # What an object needs does not matter if it may not be loaded.
    offences = list(check_objects(battery)) or (check_kernel(battery, asked) if asked else check_levels(battery))
    count = 0
    for count, offence in enumerate(offences, start=1):
        if count <= OFFENCES_SHOWN:
            tell(f"{path}: {offence}")
    if count > OFFENCES_SHOWN:
        tell(f"{path}: … and {count - OFFENCES_SHOWN} more")
    given = f"kernel {kernel}" if kernel else "their levels"
    if not count:
        say(f"{path}: {len(battery.manifest.objects)} objects need no more than {given} give{'s' * bool(kernel)}")
    return int(count > 0)


@battery_command.command("qualify")
@place_argument
@click.option(
    "--kernel-image", "kernels", metavar="VMLINUZ", type=PLACE, multiple=True, required=True, help="Kernel to boot."
)
@click.option("--timeout", type=click.FloatRange(min=1), default=1800, metavar="S", help="Seconds for a kernel. [1800]")
@json_option
def qualify_command(path: Path, kernels: tuple[Path, ...], timeout: float, as_json: bool) -> int:
    """Boot kernels in QEMU, and show what the battery does on each.

    \b
    Every object is loaded on every hook, a known workload is traced, and what was seen is added
    to the manifest as evidence. A signature goes away by that: sign the battery again.
    The exit status is 0 if all that the kernels offer works, else 1.
    """
    from traceleft.battery.guest.qualify import add_evidence, qualify_kernel
    from traceleft.battery.verify import verify_battery

    battery = verify_battery(path)
    has_failed = False
    for kernel in kernels:
        seen = []
        for each in qualify_kernel(battery, kernel, timeout_s=timeout):
            seen.append(each)
            show_seen(each, as_json=as_json)
        has_failed |= any(each.status == "failed" for each in seen) or all(each.status != "ok" for each in seen)
        if add_evidence(path, seen):
            tell(f"{path}: no longer signed, since its manifest has new evidence; sign it again")
    return int(has_failed)


def show_seen(seen: "Seen", *, as_json: bool) -> None:
    """Print what was seen of one level and hook."""
    if as_json:
        say(json.dumps({name: getattr(seen, name) for name in seen.__struct_fields__}))
        return
    figures = (
        f"loaded {seen.loaded} of {seen.built}, attached {seen.attached}, delivered {seen.delivered} of {seen.made}"
    )
    said = seen.why if seen.status == "absent" else figures
    say(f"{seen.kernel}  {seen.level:4}  {seen.hook:14}  {seen.status:6}  {said}")
    for line in seen.problems or filter(None, [seen.why if seen.status == "ok" else ""]):
        tell(f"{seen.kernel}, level {seen.level}, {seen.hook}: {line}")


@battery_command.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@json_option
def diff_command(before: str, after: str, as_json: bool) -> None:
    """Show which events and fields differ between two releases.

    A and B are each a battery, or BATTERY@RELEASE where it holds several.
    """
    from traceleft.battery.contents import compare, view_events

    (first, old), (second, new) = (name_release(text) for text in (before, after))
    difference: Any = compare(view_events(first, old), view_events(second, new))
    if as_json:
        say(json.dumps({"before": old, "after": new, **difference}))
        return
    show_difference(difference)


def name_release(text: str) -> tuple["Battery", str]:
    """Return the battery and the release that ``PATH`` or ``PATH@RELEASE`` names."""
    from traceleft.battery import Battery

    path, _, release = (text, "", "") if os.path.exists(text) else text.rpartition("@")
    battery = Battery.read(path or text)
    if release:
        battery.release(release)
        return battery, release
    if len(battery.releases) != 1:
        known = ", ".join(battery.releases) or "none"
        raise BatteryError(f"holds {len(battery.releases)} releases ({known}); name one: {path}@RELEASE", path=path)
    return battery, battery.releases[0]


def show_difference(difference: Mapping[str, Any]) -> None:
    """Print what differs as text: events that came, went, and changed."""
    for sign, key in (("+", "added"), ("-", "removed")):
        for name in difference[key]:
            say(f"{sign} {name}")
    for name, change in difference["changed"].items():
        say(f"~ {name}{' (other record)' if 'layout' in change else ''}")
        if "number" in change:
            say(f"    number {change['number'][0]} -> {change['number'][1]}")
        for field in change.get("fields", ()):
            say(f"    {field['before'] or 'nothing'} -> {field['after'] or 'nothing'}")
    if difference["format_only"]:
        say(f"= {len(difference['format_only'])} more whose format differs in its text alone")


@battery_command.command("pack")
@place_argument
@click.option("-o", "output", type=PLACE, required=True, metavar="FILE", help="File to write.")
def pack_command(path: Path, output: Path) -> None:
    """Pack a battery into one file; the same battery gives the same bytes."""
    from traceleft.battery.archive import pack_battery

    size = pack_battery(path, output)
    tell(f"{output}: {size:,} bytes")


@battery_command.command("unpack")
@click.argument("archive", metavar="FILE", type=PLACE)
@click.option("-o", "output", type=PLACE, required=True, metavar="DIR", help="Directory to make.")
@click.option("--key", type=PLACE, metavar="PUB", help="Refuse what this public key did not sign.")
def unpack_command(archive: Path, output: Path, key: Path | None) -> None:
    """Unpack a battery, made by anyone: all of it is verified before any of it appears."""
    from traceleft.battery.archive import unpack_battery

    check = None
    if key is not None:
        from traceleft.battery.ed25519 import check_signature

        def check(battery: "Battery") -> object:
            return check_signature(battery, key)

    battery = unpack_battery(archive, output, check=check)
    tell(f"{output}: {len(battery.manifest.objects)} objects")


@battery_command.command("sign")
@place_argument
@click.option("--key", type=PLACE, required=True, metavar="KEY", help="Ed25519 private key, OpenSSH's or PEM.")
def sign_command(path: Path, key: Path) -> None:
    """Sign a battery with a key as ssh-keygen -t ed25519 or openssl genpkey makes it."""
    from traceleft.battery.ed25519 import sign_battery

    signature = sign_battery(path, key, passphrase=ask_passphrase)
    tell(f"{path}: signed by {signature.fingerprint}")


def ask_passphrase() -> str:
    """Return the passphrase of a key, from the environment or the terminal."""
    given = os.environ.get(PASSPHRASE)
    return given if given is not None else str(click.prompt("passphrase of the key", hide_input=True, err=True))


@battery_command.command("verify")
@place_argument
@click.option("--key", type=PLACE, metavar="PUB", help="Public key that must have signed it, OpenSSH's or PEM.")
def verify_command(path: Path, key: Path | None) -> None:
    """Hold every byte of a battery against its digest, and with --key its signature against a key.

    A file that the manifest does not name is refused.
    """
    from traceleft.battery.verify import verify_battery

    battery = verify_battery(path)
    if key is not None:
        from traceleft.battery.ed25519 import check_signature

        said = f"signed by {check_signature(battery, key).fingerprint}"
    else:
        name = signer(battery)
        said = f"says it is signed by {name}; --key checks that" if name else "not signed"
    say(f"{path}: {len(battery.manifest.objects)} objects, whole; {said}")
