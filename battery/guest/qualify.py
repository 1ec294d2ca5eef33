"""A battery on kernels of one's own: what a guest tells of it, checked, and kept as evidence in its manifest."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.battery.guest.boot import open_guest
from traceleft.battery.manifest import (
    EVIDENCE_MAX,
    Count,
    Digest,
    EventName,
    Evidence,
    Identifier,
    LevelName,
    Line,
    Manifest,
    ReleaseName,
    objects_digest,
    one_line,
)
from traceleft.battery.store import Battery, natural_key
from traceleft.battery.writer import SIGNATURE, open_writer
from traceleft.errors import BatteryError, TraceleftError

TIMEOUT_S: Final = 1800.0
LINES_MAX: Final = 200


class Seen(Struct, frozen=True, forbid_unknown_fields=True):
    """What was seen of one level and hook on a kernel, as a line has it (docs/reference/schema.md, section 5)."""

    kernel: ReleaseName
    machine: Identifier
    date: Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    release: ReleaseName
    level: LevelName
    hook: Identifier
    objects: Digest
    status: Literal["ok", "failed", "absent"]
    why: Line = ""
    built: Count = 0
    loaded: Count = 0
    attached: Count = 0
    made: Count = 0
    delivered: Count = 0
    left_out: Annotated[tuple[EventName, ...], Meta(max_length=10_000)] = ()
    problems: Annotated[tuple[Line, ...], Meta(max_length=20)] = ()

    def __post_init__(self) -> None:
        if not self.attached <= self.loaded <= self.built or self.delivered > self.made:
            raise ValueError("figures that cannot be")

    @property
    def evidence(self) -> Evidence:
        """What of it a manifest keeps."""
        return Evidence(**{name: getattr(self, name) for name in Evidence.__struct_fields__})


class _Told(Struct):
    """What else a guest tells."""

    begun: str = ""
    error: str = ""
    end: int | None = None


def read_seen(line: bytes) -> Seen:
    """Read a line, made by anyone; TraceleftError if it is not valid."""
    try:
        return msgspec.json.decode(line, type=Seen)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise TraceleftError(f"no line of traceleft.tracer.qualify: {one_line(exc)}") from exc


def qualify_kernel(battery: Battery, kernel: Path, *, timeout_s: float = TIMEOUT_S) -> Iterator[Seen]:
    """Boot a kernel and yield what is seen of a battery on it, as it is known.

    TraceleftError where that kernel, or this machine, cannot do it, or the guest tells what cannot be.
    """
    count = 0
    with open_guest(battery, kernel, timeout_s=timeout_s) as lines:
        for count, line in enumerate(lines, start=1):
            if count > LINES_MAX:
                raise TraceleftError(f"{one_line(kernel)}: the guest tells more than {LINES_MAX} lines")
            told = _read_told(line)
            if told is None:
                yield _check_seen(battery.manifest, read_seen(line))
            elif told.error:
                raise TraceleftError(f"{one_line(kernel)}: {one_line(told.error)}")
            elif told.end not in (None, 0, 1):
                raise TraceleftError(f"{one_line(kernel)}: what qualifies died in the guest, with status {told.end}")


def _read_told(line: bytes) -> _Told | None:
    try:
        told = msgspec.json.decode(line, type=_Told)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return told if told.begun or told.error or told.end is not None else None


def _check_seen(manifest: Manifest, seen: Seen) -> Seen:
    if seen.objects != objects_digest(manifest, seen.level):
        raise TraceleftError(f"the guest speaks of other objects of level {seen.level} than the battery has")
    return seen


def add_evidence(path: Path, seen: Sequence[Seen]) -> bool:
    """Put evidence into a battery's manifest, in place of older of the same kernel, level and hook.

    Return whether a signature went away by that, as it does with every change. What is absent proves nothing.
    """
    fresh = {(each.kernel, each.level, each.hook): each.evidence for each in seen if each.status != "absent"}
    with open_writer(path, exists=True) as writer:
        manifest = writer.manifest
        if manifest is None:
            raise BatteryError("no battery", path=str(path))
        known = {(each.kernel, each.level, each.hook): each for each in manifest.evidence}
        every = sorted((known | fresh).values(), key=_order)
        if len(every) > EVIDENCE_MAX:
            raise BatteryError(f"holds {EVIDENCE_MAX} pieces of evidence, which is the most", path=str(path))
        for each in fresh.values():
            # Whoever wrote the battery meanwhile made other objects.
            if each.objects != objects_digest(manifest, each.level):
                raise BatteryError("was built again while its kernels were tried; try them again", path=str(path))
        was_signed = (path / SIGNATURE).exists()
        writer.publish(msgspec.structs.replace(manifest, evidence=tuple(every)), objects={}, schemas={})
        return was_signed and not (path / SIGNATURE).exists()


def _order(evidence: Evidence) -> tuple[object, ...]:
    return natural_key(evidence.kernel), natural_key(evidence.level), evidence.hook
