"""Batteries on disk, opened for reading: every byte is held against its digest."""

import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from traceleft.battery.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    ObjectEntry,
    Release,
    digest_of,
    one_line,
    parse_manifest,
)
from traceleft.errors import BatteryError

SCHEMA_BYTES_MAX: Final = 64 << 20
KernelFormat = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Selection:
    """The release of a battery that serves a kernel; ``exact`` when it is the kernel's own; ``why`` it was chosen."""

    name: str
    release: Release
    exact: bool
    why: str


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery: compiled programs for one or more kernels, with a manifest that describes them.

    ::

        battery = Battery.open("build/battery")
        print(battery.releases)

    ``Battery.open`` reads and checks the manifest alone. Each object is checked against its digest when it is read.
    Batteries are made by ``build``.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, machine: str | None = None) -> Self:
        """Open a battery for this type of machine, or for ``machine`` (as ``uname -m`` prints it).

        Raises BatteryError where the battery is missing, damaged, or made for something else.
        """
        return cls._read(Path(path), machine or os.uname().machine)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Open a battery of any type of machine, to look at it and not to trace with it.

        Raises BatteryError where the battery is missing or damaged.
        """
        return cls._read(Path(path), None)

    @classmethod
    def _read(cls, directory: Path, machine: str | None) -> Self:
        file = directory / "manifest.json"
        try:
            data = read_file(file, MANIFEST_BYTES_MAX)
        except FileNotFoundError as exc:
            remedy = "make one with: traceleft build DIR -o BATTERY"
            reason = "no battery (it has no manifest.json)" if directory.is_dir() else "no such battery"
            raise BatteryError(f"{reason}; {remedy}", path=str(directory)) from exc
        except OSError as exc:
            raise BatteryError(describe(exc), path=str(file)) from exc
        return cls(directory, parse_manifest(data, path=str(file), machine=machine))

    @property
    def releases(self) -> tuple[str, ...]:
        """The names of the kernel releases that the battery was made for, oldest first."""
        return tuple(sorted(self.manifest.releases, key=natural_key))

    def entry(self, digest: str) -> ObjectEntry:
        """Return what the manifest says about an object, by its digest.

        Raises BatteryError for an unknown digest.
        """
        entry = self.manifest.objects.get(digest)
        if entry is None:
            raise BatteryError(f"{one_line(digest)}: the manifest has no such object", path=str(self.path))
        return entry

    def object_bytes(self, digest: str) -> bytes:
        """Return the bytes of an object, by its digest.

        Raises BatteryError unless size and digest are those of the manifest.
        """
        entry = self.entry(digest)
        path = object_path(self.path, digest)
        data = _read_part(path, entry.size, f"the object of {entry.event}")
        if len(data) != entry.size:
            raise BatteryError(f"{len(data)} bytes, the manifest says {entry.size}; build it again", path=str(path))
        _verify(data, digest, path)
        return data

    def release(self, name: str) -> Release:
        """Return a release by its exact name.

        Raises BatteryError for an unknown name.
        """
        release = self.manifest.releases.get(name)
        if release is None:
            known = ", ".join(self.releases) or "none"
            raise BatteryError(f"holds no release {one_line(name)} (it has {known})", path=str(self.path))
        return release

    def schema_bytes(self, release: str) -> bytes:
        """Return the schema document of a release as it lies on the disk. Its digest is checked.

        Raises BatteryError where the document is missing or damaged.
        """
        digest = self.release(release).schema
        path = schema_path(self.path, digest)
        data = _read_part(path, SCHEMA_BYTES_MAX, f"the schema of {release}")
        _verify(data, digest, path)
        return data

    def schema(self, release: str) -> dict[str, object]:
        """Return the schema document of a release. Its digest is checked, its content is not.

        Raises BatteryError where the document is missing or damaged.
        """
        data = self.schema_bytes(release)
        try:
            document = msgspec.json.decode(data, type=dict[str, object])
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            raise BatteryError(f"damaged schema of {one_line(release)}: {one_line(exc)}", path=str(self.path)) from exc
        return document

    def formats(self, release: str) -> dict[str, str]:
        """Return the digests of the formats from which a release's events were made, by event.

        Borrowed formats are left out. Raises BatteryError where the schema is damaged.
        """
        events = self.schema(release).get("events")
        if not isinstance(events, dict):
            raise BatteryError(f"damaged schema of {release}: it has no events", path=str(self.path))
        return {
            name: event["format"]
            for name, event in events.items()
            if isinstance(event, dict) and isinstance(event.get("format"), str) and event.get("borrowed") is not True
        }

    def select(self, release: str, *, kernel_format: KernelFormat | None = None) -> Selection:
        """Choose the release of the battery that serves a kernel.

        The kernel's own release comes first. Then those that lack the fewest of the kernel's events, among these those
        with the kernel's formats, and among these the nearest version; older versions are nearer than newer ones.
        ``kernel_format`` gives the digest of an event's format on the kernel, or None. Raises BatteryError where the
        battery has no release.
        """
        if not self.releases:
            raise BatteryError("holds no release; build it again", path=str(self.path))
        if release in self.manifest.releases:
            return self._selection(release, "the kernel's own release", exact=True)
        nearest, has_older = self._by_distance(natural_key(upstream(release)))
        if kernel_format is None or len(nearest) == 1:
            why = "the nearest older release" if has_older else "the oldest release: none is older than the kernel"
            return self._selection(nearest[0], why)
        complete, lacks = self._lacking_fewest(nearest, kernel_format)
        what = "that lacks the fewest of the kernel's events" if lacks else "that has all of the kernel's events"
        for name in complete:
            if self._agrees(name, kernel_format):
                return self._selection(name, f"the nearest release {what}, in its formats")
        return self._selection(complete[0], f"the nearest release {what}; each has formats that are not the kernel's")

    def _by_distance(self, own: tuple[tuple[int, int, str], ...]) -> tuple[list[str], bool]:
        """Return the releases, the nearest to a version first, and whether one is not newer than that."""
        older = [name for name in self.releases if natural_key(upstream(name)) <= own]
        newer = [name for name in self.releases if name not in older]
        return [*reversed(older), *newer], bool(older)

    def _lacking_fewest(self, names: list[str], kernel_format: KernelFormat) -> tuple[list[str], int]:
        """Return those releases, in their order, that lack the fewest of the kernel's events, and how many that is."""
        held = {name: self.manifest.releases[name].events.keys() for name in names}
        here = {event for event in set().union(*held.values()) if kernel_format(event) is not None}
        lacking = {name: len(here - held[name]) for name in names}
        fewest = min(lacking.values())
        return [name for name in names if lacking[name] == fewest], fewest

    def _selection(self, name: str, why: str, *, exact: bool = False) -> Selection:
        return Selection(name, self.manifest.releases[name], exact, why)

    def _agrees(self, release: str, kernel_format: KernelFormat) -> bool:
        return all(kernel_format(name) in (None, digest) for name, digest in self.formats(release).items())


def object_path(battery: Path, digest: str) -> Path:
    """Return where an object lies."""
    name = digest.removeprefix("sha256:")
    return battery / "objects" / name[:2] / f"{name[2:]}.o"


def schema_path(battery: Path, digest: str) -> Path:
    """Return where a schema lies."""
    return battery / "schemas" / f"{digest.removeprefix('sha256:')}.json"


def upstream(release: str) -> str:
    """Return the part of a release that is the kernel's own, less a distribution's flavour and count of builds."""
    match = re.match(r"[0-9]+(?:[.][0-9]+)*", release, re.ASCII)
    return match[0] if match else release


def natural_key(release: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``5.9`` before ``5.10``, and a number before any word."""
    parts = re.findall(r"[0-9]+|[^0-9.]+", release, re.ASCII)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def read_file(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes, or its first ``limit + 1``; follows no link, waits for nobody."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(limit + 1)


def describe(exc: OSError) -> str:
    """Say in words what the system refused."""
    if exc.errno == errno.ELOOP:
        return "a symbolic link; nothing in a battery may be one"
    if is_full(exc):
        return "no space left on the device; free some and try again"
    return one_line(exc.strerror or exc).lower()


def is_full(exc: OSError) -> bool:
    """Whether there was no room, or no more of it for this user."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT)


def why_untrusted(path: str | os.PathLike[str]) -> str | None:
    """Tell why a battery that nobody named should not be picked up, or None when it may be.

    It may be when it, its manifest and all directories above belong to the caller or to root, and nobody else
    can write to them (a sticky directory above, as /tmp, does no harm).
    """
    named = Path(os.path.abspath(path))
    try:
        resolved = named.resolve(strict=True)
        entries = {*named.parents, *resolved.parents, named, resolved}
        if os.path.lexists(manifest := resolved / "manifest.json"):
            entries.add(manifest)
        return next((reason for entry in sorted(entries) if (reason := _who_else(entry, resolved))), None)
    except (OSError, RuntimeError) as exc:
        return one_line(exc)


def is_trusted(path: str | os.PathLike[str]) -> bool:
    """Tell whether only the caller and root can have written a battery; see ``why_untrusted``."""
    return why_untrusted(path) is None


def _who_else(entry: Path, battery: Path) -> str | None:
    status = os.lstat(entry)
    if status.st_uid not in (0, os.geteuid()):
        return f"{entry} belongs to another user (uid {status.st_uid})"
    if stat.S_ISLNK(status.st_mode):
        return None
    above = entry != battery and battery.is_relative_to(entry)
    if above and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and not _is_private(status)):
        return f"{entry} can be written by others"
    return None


def _is_private(status: os.stat_result) -> bool:
    """Tell whether a file's group is its owner's own: same name, no other member."""
    try:
        owner = pwd.getpwuid(status.st_uid).pw_name
        group = grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and not set(group.gr_mem) - {owner}


def _read_part(path: Path, limit: int, what: str) -> bytes:
    try:
        data = read_file(path, limit)
    except FileNotFoundError as exc:
        raise BatteryError(f"{what} is missing; build the battery again", path=str(path)) from exc
    except OSError as exc:
        raise BatteryError(f"{what}: {describe(exc)}", path=str(path)) from exc
    if len(data) > limit:
        raise BatteryError(f"{what} is larger than {limit} bytes; build the battery again", path=str(path))
    return data


def _verify(data: bytes, digest: str, path: Path) -> None:
    if digest_of(data) != digest:
        raise BatteryError("wrong digest: damaged or changed; build the battery again", path=str(path))
