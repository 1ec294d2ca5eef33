"""Sources to a battery: compiled in parallel, inspected, stored by digest, all or nothing."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar

import msgspec

from traceleft.battery._object import find_offences
from traceleft.battery.builder.checkers import FEWEST, Checkers
from traceleft.battery.builder.compiler import Compiler, find_compiler, shared_flags
from traceleft.battery.builder.generated_source import CORE, SourceFile, SourceTree, read_sources
from traceleft.battery.builder.object_check import Checked
from traceleft.battery.builder.rendered import render_tree, write_tree
from traceleft.battery.level import DEFAULT_LEVELS, LEVELS, Level, find_level, sort_levels
from traceleft.battery.manifest import (
    SCHEMA,
    CompilerEntry,
    Manifest,
    ObjectEntry,
    Release,
    canonical,
    digest_of,
    objects_digest,
)
from traceleft.battery.store import Battery, describe
from traceleft.battery.writer import BatteryWriter, open_writer
from traceleft.errors import BatteryError, CompileError
from traceleft.generator.render import templates_digest
from traceleft.version import __version__

Progress = Callable[[int, int], None]
T = TypeVar("T")
WAIT_S: Final = 0.2
STRIPPED_AT_ONCE: Final = 16
# Where in a build's own directory the sources lie that clang reads.
SOURCES: Final = "sources"


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did: objects compiled, and objects that were there already, for one release."""

    release: str
    compiled: int
    reused: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class _Job:
    """One object to be: a source at a level, and the digest of all that makes it."""

    source: SourceFile
    level: Level
    made_from: str


@dataclass(frozen=True, slots=True)
class _Made:
    """One object that is there: from this build with its bytes, from an earlier one without."""

    digest: str
    entry: ObjectEntry
    data: bytes | None = None


def build(
    source: Path,
    battery: Path,
    *,
    levels: Sequence[str] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
    foreign_sources: bool = False,
) -> BuildResult:
    """Build sources that ``generate`` wrote into a battery, which is made or added to.

    ::

        build(Path("generated"), Path("battery"), levels=["5.8"])

    The release that the sources are for is replaced, others are kept. Sources that did not change are not compiled
    again. A build that fails or is interrupted leaves the battery as it was. ``levels`` are by default all of them, and
    ``jobs`` one for each CPU. ``progress`` is called with (done, total) as objects are compiled. Sources that are not
    what ``generate`` renders from their schema are refused, unless ``foreign_sources``.

    Needs clang 12 or later. Raises FormatError for bad sources, CompileError, BatteryError and UnsupportedError, each
    with one line.
    """
    tree = read_sources(source)
    rendered = None if foreign_sources else render_tree(tree)
    chosen = [find_level(name) for name in dict.fromkeys(levels or DEFAULT_LEVELS)]
    compiler = find_compiler()
    plan = _plan(tree, chosen, compiler.version)
    with _sigterm_raises(), open_writer(battery) as writer:
        _check_machine(writer.manifest, tree, battery)
        found = _reusable(writer, plan) | _other_levels(writer, tree, chosen, compiler.version)
        missing = [job for job in plan if job not in found]
        if missing and rendered is not None:
            write_tree(rendered, writer.work / SOURCES)
            tree = replace(tree, path=writer.work / SOURCES)
        try:
            made = _make(compiler, tree, missing, writer.work, jobs or len(os.sched_getaffinity(0)), progress)
        except CompileError as exc:
            raise _with_log(exc, battery) from exc
        _publish(writer, tree, _manifest(writer.manifest, tree, compiler, found | made), made)
        assert writer.manifest is not None
        return BuildResult(tree.release, len(made), len(plan) - len(made), writer.manifest)


def _plan(tree: SourceTree, levels: Sequence[Level], compiler: str) -> list[_Job]:
    shared = shared_flags(tree.byte_order)

    def made_from(source: SourceFile, level: Level) -> str:
        return digest_of(canonical([source.digest, source.file, tree.shared, compiler, *shared, *level.flags]))

    return [
        _Job(source, level, made_from(source, level))
        for level in levels
        for source in tree.sources
        if level.has_tracepoints or ":" not in source.event
    ]


def _check_machine(manifest: Manifest | None, tree: SourceTree, battery: Path) -> None:
    if manifest is not None and (manifest.machine, manifest.byte_order) != (tree.machine, tree.byte_order):
        message = f"made for {manifest.machine}, the sources are for {tree.machine}; name another battery"
        raise BatteryError(message, path=str(battery))


def _reusable(writer: BatteryWriter, plan: Sequence[_Job]) -> dict[_Job, _Made]:
    """Find the objects that were made from the very same, and whose bytes are still sound."""
    if writer.manifest is None:
        return {}
    battery = Battery(writer.path, writer.manifest)
    by_source = {
        (source, entry.event, level): digest
        for digest, entry in writer.manifest.objects.items()
        for level, source in entry.sources.items()
    }
    found: dict[_Job, _Made] = {}
    for job in plan:
        digest = by_source.get((job.made_from, job.source.event, job.level.name))
        if digest is None:
            continue
        with suppress(BatteryError):
            battery.object_bytes(digest)
            found[job] = _Made(digest, writer.manifest.objects[digest])
    return found


def _other_levels(writer: BatteryWriter, tree: SourceTree, chosen: Sequence[Level], compiler: str) -> dict[_Job, _Made]:
    """Find the levels that an earlier build made of these very sources, where all of their objects are still sound."""
    if writer.manifest is None or tree.release not in writer.manifest.releases:
        return {}
    held = [find_level(name) for name in writer.manifest.releases[tree.release].core if name in LEVELS]
    found: dict[_Job, _Made] = {}
    for level in held:
        plan = [] if level in chosen else _plan(tree, [level], compiler)
        reusable = _reusable(writer, plan)
        if len(reusable) == len(plan):
            found |= reusable
    return found


def _make(
    compiler: Compiler, tree: SourceTree, plan: Sequence[_Job], work: Path, jobs: int, progress: Progress | None
) -> dict[_Job, _Made]:
    """Compile and inspect in parallel. The first failure in the plan's order ends it: the same one every time."""
    outputs = {job: work / f"{index}.o" for index, job in enumerate(plan)}
    flags = shared_flags(tree.byte_order)

    def compile_one(job: _Job) -> Checked:
        output = outputs[job]
        compiler.compile(tree.path, job.source.file, output, flags=(*flags, *job.level.flags))
        return checkers.check(job.source, job.level, output)

    def strip(batch: Sequence[_Job]) -> list[bytes]:
        compiler.strip([outputs[job] for job in batch])
        return [outputs[job].read_bytes() for job in batch]

    batches = [plan[start : start + STRIPPED_AT_ONCE] for start in range(0, len(plan), STRIPPED_AT_ONCE)]
    with Checkers(in_processes=jobs > 1 and len(plan) >= FEWEST) as checkers, ThreadPoolExecutor(jobs) as pool:
        try:
            checked = _gather([pool.submit(compile_one, job) for job in plan], progress)
            stripped = _gather([pool.submit(strip, batch) for batch in batches], None)
        except BaseException:
            compiler.stop()
            checkers.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    parts = (data for batch in stripped for data in batch)
    return {job: _made(job, own, data) for job, own, data in zip(plan, checked, parts, strict=True)}


def _gather(futures: Sequence[Future[T]], progress: Progress | None) -> list[T]:
    results: list[T] = []
    for future in futures:
        # A signal that comes just before a wait begins does not end it.
        while not wait([future], timeout=WAIT_S).done:
            pass
        results.append(future.result())
        if progress is not None:
            progress(len(results), len(futures))
    return results


def _made(job: _Job, checked: Checked, data: bytes) -> _Made:
    offences = find_offences(data, "core" if job.source.event == CORE else "handler")
    if offences:
        raise CompileError(f"{job.source.file}: {offences[0]}", source=job.source.file, log="")
    layout = job.source.layout
    entry = ObjectEntry(
        event=job.source.event,
        sources={job.level.name: job.made_from},
        floor=str(checked.floor),
        size=len(data),
        layout=None if layout is None else layout.digest,
        programs=checked.programs,
    )
    return _Made(digest_of(data), entry, data)


def _manifest(
    previous: Manifest | None, tree: SourceTree, compiler: Compiler, objects: Mapping[_Job, _Made]
) -> Manifest:
    """Add the release to what the battery held, and drop the objects that nothing names any longer."""
    releases = {} if previous is None else dict(previous.releases)
    releases[tree.release] = _release(tree, objects)
    manifest = Manifest(
        schema=SCHEMA,
        traceleft=__version__,
        machine=tree.machine,
        byte_order=tree.byte_order,
        compiler=CompilerEntry(compiler.version, shared_flags(tree.byte_order)),
        templates=templates_digest(),
        objects=_entries({} if previous is None else previous.objects, objects.values(), releases),
        releases=releases,
    )
    evidence = () if previous is None else previous.evidence
    still = tuple(each for each in evidence if each.objects == objects_digest(manifest, each.level))
    return msgspec.structs.replace(manifest, evidence=still)


def _entries(
    previous: Mapping[str, ObjectEntry], made: Iterable[_Made], releases: Mapping[str, Release]
) -> dict[str, ObjectEntry]:
    """Return what is to be said of each object that a release names: levels that give the same bytes share one."""
    sources: dict[str, dict[str, str]] = {digest: dict(entry.sources) for digest, entry in previous.items()}
    entries = dict(previous)
    for each in made:
        entries[each.digest] = each.entry
        sources.setdefault(each.digest, {}).update(each.entry.sources)
    named: dict[str, set[str]] = {}
    for release in releases.values():
        for level, digest in _digests(release):
            named.setdefault(digest, set()).add(level)
    return {
        digest: msgspec.structs.replace(
            entries[digest], sources={level: sources[digest][level] for level in sort_levels(levels)}
        )
        for digest, levels in sorted(named.items())
    }


def _release(tree: SourceTree, objects: Mapping[_Job, _Made]) -> Release:
    by_event: dict[str, dict[str, str]] = {source.event: {} for source in tree.sources}
    for job, made in objects.items():
        by_event[job.source.event][job.level.name] = made.digest
    core = by_event.pop(CORE)
    return Release(digest_of(tree.schema), core, by_event, tree.borrowed, tree.notices)


def _digests(release: Release) -> Iterator[tuple[str, str]]:
    """Yield level and digest of each object of a release."""
    for levels in (release.core, *release.events.values()):
        yield from levels.items()


def _publish(writer: BatteryWriter, tree: SourceTree, manifest: Manifest, made: Mapping[_Job, _Made]) -> None:
    objects = {each.digest: each.data for each in made.values() if each.data is not None}
    writer.publish(manifest, objects=objects, schemas={digest_of(tree.schema): tree.schema})


def _with_log(exc: CompileError, battery: Path) -> Exception:
    """Keep clang's whole log next to the battery, where that can be written; a full disk is not the source's fault."""
    if "No space left on device" in exc.log:
        return BatteryError(describe(OSError(errno.ENOSPC, "")), path=str(battery))
    if not exc.log:
        return exc
    log = battery.absolute().with_name(f"{battery.absolute().name}.build.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(exc.log)
    except OSError:
        return exc
    return CompileError(f"{exc} (whole log: {log})", source=exc.source, log=exc.log)


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, unless someone else handles it already."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
