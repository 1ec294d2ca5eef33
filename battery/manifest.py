"""The manifest of a battery: typed, bounded, and covered by its own digest."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.errors import BatteryError
from traceleft.terminal import printable

ANEW: Final = "remove the battery and build it again"
SCHEMA: Final = 1
MANIFEST_BYTES_MAX: Final = 64 << 20
OBJECT_BYTES_MAX: Final = 4 << 20
LEVELS_MAX: Final = 16
EVIDENCE_MAX: Final = 4096

Digest = Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
EventName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,100}(:[A-Za-z0-9_-]{1,100})?\Z")]
LevelName = Annotated[str, Meta(pattern=r"\A[0-9]{1,2}\.[0-9]{1,3}\Z")]
ReleaseName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}\Z")]
Identifier = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]{1,220}\Z")]
Line = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]{0,500}\Z")]
Helper = Annotated[int, Meta(ge=0, le=0xFFFF)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
ByteOrder = Literal["little", "big"]
Hook = Literal["raw_tp", "tp", "kprobe"]


class ProgramEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One program of an object."""

    name: Identifier
    role: Identifier
    hook: Hook
    section: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_./]{1,64}\Z")]
    instructions: Annotated[int, Meta(ge=1, le=1_000_000)]
    helpers: Annotated[tuple[Helper, ...], Meta(max_length=1024)]


class ObjectEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One object: the programs of one event, at each level that gives these bytes.

    ``sources`` are, by level, the digests of all that made it; ``floor`` is the oldest kernel that can load it.
    """

    event: EventName
    sources: Annotated[dict[LevelName, Digest], Meta(min_length=1, max_length=LEVELS_MAX)]
    floor: LevelName
    size: Annotated[int, Meta(ge=1, le=OBJECT_BYTES_MAX)]
    layout: Digest | None
    programs: Annotated[tuple[ProgramEntry, ...], Meta(min_length=1, max_length=64)]


class Release(Struct, frozen=True, forbid_unknown_fields=True):
    """What a battery holds for the formats of one kernel: digests by event and level."""

    schema: Digest
    core: dict[LevelName, Digest]
    events: dict[EventName, dict[LevelName, Digest]]
    borrowed: tuple[EventName, ...] = ()
    notices: tuple[Line, ...] = ()


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """What was seen of a level's objects on a real kernel, on one hook.

    Of ``built`` objects so many were ``loaded`` and ``attached``, of ``made`` events so many ``delivered``. ``objects``
    tells which objects these were (``objects_digest``).
    """

    kernel: ReleaseName
    date: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    level: LevelName
    hook: Identifier
    objects: Digest
    built: Count
    loaded: Count
    attached: Count
    made: Count
    delivered: Count


class CompilerEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """The compiler of the latest build; ``flags`` are those that all levels share."""

    version: Line
    flags: tuple[Line, ...]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """All that a battery holds. ``digest`` is empty until it is dumped."""

    schema: Literal[1]
    traceleft: Line
    machine: Identifier
    byte_order: ByteOrder
    compiler: CompilerEntry
    templates: Digest
    objects: dict[Digest, ObjectEntry]
    releases: dict[ReleaseName, Release]
    evidence: Annotated[tuple[Evidence, ...], Meta(max_length=EVIDENCE_MAX)] = ()
    digest: Digest | Literal[""] = ""


class Head(Struct, frozen=True):
    """What is read first, since it tells whether the rest can be."""

    schema: int
    machine: str = ""
    byte_order: str = ""


def digest_of(data: bytes) -> str:
    """Return the digest of some bytes, as manifests spell it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def objects_digest(manifest: Manifest, level: str) -> str:
    """Return the digest of the objects that a manifest has for a level: evidence is about these and no others."""
    return digest_of(canonical(sorted(digest for digest, entry in manifest.objects.items() if level in entry.sources)))


def canonical(value: object) -> bytes:
    """Return the canonical JSON of builtins: keys sorted, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _is_plain(data: bytes) -> bool:
    """Whether canonical JSON of these bytes has nothing to escape."""
    return data.isascii() and b"\\" not in data and data.decode("ascii").isprintable()


def _spell_plain(value: object) -> bytes:
    """Return what ``canonical`` does of a document that has nothing to escape, in an eighth of the time."""
    return msgspec.json.encode(value, order="sorted")


def one_line(text: object) -> str:
    """Return a message about foreign data fit for a terminal: one line, nothing unprintable, of bounded length."""
    return printable(str(text)[:300])[:300]


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest, its own digest filled in."""
    document: dict[str, object] = msgspec.to_builtins(manifest)
    document.pop("digest")
    document["digest"] = digest_of(canonical(document))
    return canonical(document)


def parse_manifest(data: bytes, *, path: str = "manifest.json", machine: str | None = None) -> Manifest:
    """Read a manifest, made by anyone.

    With ``machine`` it must be for that machine type. Raises BatteryError, of one line, for whatever is wrong.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise BatteryError(f"larger than {MANIFEST_BYTES_MAX >> 20} MiB: no manifest of traceleft", path=path)
    try:
        _check_head(msgspec.json.decode(data, type=Head), machine, path)
        _check_digest(data, path)
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BatteryError(f"damaged manifest: {one_line(exc)}; {ANEW}", path=path) from exc
    _check_references(manifest, path)
    return manifest


def _check_head(head: Head, machine: str | None, path: str) -> None:
    if head.schema > SCHEMA:
        raise BatteryError(f"made by a newer traceleft (schema {head.schema}); update traceleft", path=path)
    if machine is None:
        return
    if head.machine != machine:
        made_for = one_line(head.machine) or "no machine"
        raise BatteryError(f"made for {made_for}, this is {machine}; build one for it", path=path)
    if machine == os.uname().machine and head.byte_order != sys.byteorder:
        raise BatteryError(f"byte order is {one_line(head.byte_order)}, this machine's is {sys.byteorder}", path=path)


def _check_digest(data: bytes, path: str) -> None:
    document = msgspec.json.decode(data)
    if not isinstance(document, dict):
        raise BatteryError(f"damaged manifest: no JSON object; {ANEW}", path=path)
    claimed = document.pop("digest", None)
    # One spelling only: a byte that changes and means the same (an escape's case) is a changed byte.
    spell = _spell_plain if _is_plain(data) else canonical
    if claimed != digest_of(spell(document)) or data != spell(document | {"digest": claimed}):
        raise BatteryError(f"wrong digest: the manifest was damaged or changed; {ANEW}", path=path)


def _check_references(manifest: Manifest, path: str) -> None:
    """Hold every digest of a release against the object's own entry."""
    for name, release in manifest.releases.items():
        for event, levels in (("core", release.core), *release.events.items()):
            _check_levels(manifest.objects, event, levels, f"{path}: release {name}")


def _check_levels(objects: Mapping[str, ObjectEntry], event: str, levels: Mapping[str, str], place: str) -> None:
    for level, digest in levels.items():
        entry = objects.get(digest)
        if entry is None:
            raise BatteryError(f"{event}, level {level}: its object is not in the manifest", path=place)
        if entry.event != event or level not in entry.sources:
            made_for = f"{entry.event} {', '.join(entry.sources)}"
            raise BatteryError(f"{event}, level {level}: its object is for {made_for}", path=place)
