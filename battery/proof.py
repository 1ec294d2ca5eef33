"""What a battery's objects do and need, held against what they may, and what its levels, and a kernel, give."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from traceleft.battery._object import find_offences
from traceleft.battery.level import sort_levels
from traceleft.battery.manifest import ObjectEntry
from traceleft.battery.since import Kernel
from traceleft.battery.store import Battery
from traceleft.battery.verifier.floor import Floor, find_floor
from traceleft.errors import BatteryError


@dataclass(frozen=True, slots=True)
class Offence:
    """An object that does or needs more than it may: which, and the reason."""

    event: str
    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.event}, {self.place}: {self.reason}"


def find_floors(battery: Battery) -> dict[str, Floor]:
    """Return the floor of each object, from its bytes; BatteryError names an object that cannot be read."""
    return {digest: _floor(battery, digest, entry) for digest, entry in sorted(battery.manifest.objects.items())}


def check_objects(battery: Battery) -> Iterator[Offence]:
    """Yield what each object does that it may not, or why it is damaged: no load hands such an object to libbpf."""
    cores = {digest for release in battery.manifest.releases.values() for digest in release.core.values()}
    for digest, entry in sorted(battery.manifest.objects.items()):
        role: Literal["core", "handler"] = "core" if digest in cores else "handler"
        for offence in find_offences(battery.object_bytes(digest), role):
            yield Offence(entry.event, f"levels {', '.join(sort_levels(entry.sources))}", offence)


def check_levels(battery: Battery) -> Iterator[Offence]:
    """Yield each object whose floor is above a level that it is for, or not what the manifest says."""
    for digest, floor in find_floors(battery).items():
        entry = battery.manifest.objects[digest]
        for level in sort_levels(entry.sources):
            above = floor.above(Kernel.parse(level))
            if above:
                yield Offence(entry.event, f"level {level}", str(above[0]))
        if str(floor.kernel) != entry.floor:
            yield Offence(entry.event, f"levels {', '.join(sort_levels(entry.sources))}", _lie(entry, floor))


def check_kernel(battery: Battery, kernel: Kernel) -> Iterator[Offence]:
    """Yield each event of a release that has no object, at any level, that a kernel can load."""
    floors = find_floors(battery)
    for name in battery.releases:
        release = battery.manifest.releases[name]
        for event, levels in (("core", release.core), *sorted(release.events.items())):
            held = [floors[digest] for digest in levels.values()]
            if any(floor.kernel <= kernel for floor in held):
                continue
            nearest = min(held, key=lambda floor: floor.kernel, default=None)
            reason = str(nearest.above(kernel)[0]) if nearest else "the release has no object of it"
            yield Offence(event, f"release {name}", reason)


def _floor(battery: Battery, digest: str, entry: ObjectEntry) -> Floor:
    try:
        return find_floor(battery.object_bytes(digest))
    except BatteryError as exc:
        raise BatteryError(f"{entry.event}: {exc}") from exc


def _lie(entry: ObjectEntry, floor: Floor) -> str:
    why = f" ({floor.reasons[0]})" if floor.reasons else ""
    return f"its floor is {floor.kernel}{why}, the manifest says {entry.floor}"
