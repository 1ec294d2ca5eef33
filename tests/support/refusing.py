"""Batteries with an object that the kernel refuses: its programs end with a value in a field that is reserved."""

from io import BytesIO
from pathlib import Path
from typing import Final

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from msgspec.structs import replace

from traceleft.battery import Battery, Manifest, dump_manifest
from traceleft.battery.manifest import digest_of
from traceleft.battery.store import object_path

EXIT: Final = bytes.fromhex("9500000000000000")
ODD_EXIT: Final = bytes.fromhex("9500000001000000")
REASON: Final = "BPF_EXIT uses reserved fields"


def refuse(path: Path, event: str, level: str) -> None:
    """Make the verifier refuse an event's object of a level, or the core's; the battery stays whole."""
    battery = Battery.open(path)
    manifest = battery.manifest
    for name, release in manifest.releases.items():
        before = release.core[level] if event == "core" else release.events[event][level]
        data = battery.object_bytes(before)
        after = _store(path, with_odd_exits(data))
        entry = manifest.objects[before]
        objects = {**manifest.objects, after: replace(entry, sources={level: entry.sources[level]})}
        if event == "core":
            changed = replace(release, core={**release.core, level: after})
        else:
            changed = replace(release, events={**release.events, event: {**release.events[event], level: after}})
        manifest = replace(manifest, objects=objects, releases={**manifest.releases, name: changed})
    _write(path, manifest)


def with_odd_exits(data: bytes) -> bytes:
    """Return an object that is sound, and whose programs the kernel refuses."""
    changed = bytearray(data)
    for section in ELFFile(BytesIO(data)).iter_sections():
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR:
            begin, end = section["sh_offset"], section["sh_offset"] + section["sh_size"]
            changed[begin:end] = changed[begin:end].replace(EXIT, ODD_EXIT)
    return bytes(changed)


def _store(path: Path, data: bytes) -> str:
    digest = digest_of(data)
    place = object_path(path, digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return digest


def _write(path: Path, manifest: Manifest) -> None:
    (path / "manifest.json").write_bytes(dump_manifest(manifest))
