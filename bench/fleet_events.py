"""Several hosts' worth of events, made from a seed: the same rows wherever they are made, 10 million in seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy
import pyarrow
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from traceleft.aggregator.stored.arrow_table import SCHEMA
from traceleft.aggregator.stored.parquet import ParquetWriter

# 2026-11-22 22:00 UTC: events go over midnight, so that there are two days.
START_NS: Final = 1_795_384_800_000_000_000
SPAN_NS: Final = 4 * 3600 * 1_000_000_000
ROWS_A_TABLE: Final = 1 << 18

# Name, share, whether it has a path, a file descriptor, bytes that it moves, an address.
CALLS: Final = (
    ("openat", 0.22, "path"),
    ("read", 0.25, "bytes"),
    ("write", 0.12, "bytes"),
    ("close", 0.15, "fd"),
    ("newfstatat", 0.10, "path"),
    ("futex", 0.06, ""),
    ("connect", 0.02, "address"),
    ("recvfrom", 0.04, "bytes"),
    ("unlink", 0.01, "path"),
    ("execve", 0.01, "path"),
    ("sched:sched_process_exec", 0.02, "path"),
)
ERRORS: Final = (("ENOENT", 2), ("EACCES", 13), ("EAGAIN", 11), ("EINTR", 4))
COMMS: Final = ("nginx", "postgres", "python3", "sshd", "cron", "java", "kworker/0:1", "bash", "a b", "größe")
DIRECTORIES: Final = (
    "/etc",
    "/usr/lib/x86_64-linux-gnu",
    "/var/log/app",
    "/proc/self",
    "/home/user/.cache",
    "data",
    "//srv//x",
)


def write_fleet(directory: Path, *, rows: int, hosts: int, seed: int = 1) -> None:
    """Write events of several hosts below a directory, partitioned."""
    with ParquetWriter(directory) as writer:
        for table in fleet_tables(rows=rows, hosts=hosts, seed=seed):
            writer.write(table)


def fleet_tables(*, rows: int, hosts: int, seed: int = 1) -> Iterator[pyarrow.Table]:
    """Yield tables of events, one host after another, each in the order of time."""
    for number in range(hosts):
        random = default_rng([seed, number])
        left = rows // hosts + (number < rows % hosts)
        start, step = START_NS, SPAN_NS // max(left, 1)
        while left:
            count = min(left, ROWS_A_TABLE)
            yield _make_table(random, count, f"host-{number:03}", start, step)
            start += count * step
            left -= count


def _make_table(random: Generator, rows: int, host: str, start: int, step: int) -> pyarrow.Table:
    call = random.choice(len(CALLS), rows, p=[share for _, share, _ in CALLS])
    kinds = numpy.array([kind for _, _, kind in CALLS])[call]
    names = [name for name, _, _ in CALLS]
    has_return = numpy.array([":" not in name for name in names])[call]
    has_failed = has_return & (random.random(rows) < 0.07)
    error = random.choice(len(ERRORS), rows, p=[0.7, 0.15, 0.1, 0.05])
    moved = numpy.minimum(random.lognormal(6, 2.5, rows), 1 << 31).astype(numpy.int64)
    ret = numpy.where(kinds == "bytes", moved, numpy.where(kinds == "path", random.integers(3, 60, rows), 0))
    ret = numpy.where(has_failed, -numpy.array([number for _, number in ERRORS])[error], ret)
    durations = random.lognormal(8.5, 1.6, rows).astype(numpy.int64) + 150
    pid = 1000 + random.zipf(1.4, rows) % 400
    comm = pid % len(COMMS)
    has_address = kinds == "address"
    columns = {
        "ts": start + numpy.arange(rows) * step + random.integers(0, step, rows),
        "host": _repeat(host, rows),
        "event": _pick(names, call),
        "pid": pid,
        "tid": pid + random.integers(0, 4, rows),
        "comm": _pick(COMMS, comm),
        "uid": numpy.array([0, 33, 1000, 65534])[comm % 4],
        "gid": numpy.array([0, 33, 1000, 65534])[comm % 4],
        "cpu": random.integers(0, 8, rows),
        "seq": numpy.arange(rows),
        "cgroup_id": 4000 + comm,
        "cgroup": _pick([f"/system.slice/{each}.service" for each in COMMS], comm),
        "container": _pick([f"{each:064x}" for each in range(len(COMMS))], comm, where=comm > 4),
        "ret": _where(ret, has_return),
        "error": _pick([name for name, _ in ERRORS], error, where=has_failed),
        "duration_ns": _where(durations, has_return & (random.random(rows) < 0.98)),
        "path": _paths(random, rows, where=kinds == "path"),
        "address": _pick([f"10.0.0.{each}" for each in range(64)], random.integers(0, 64, rows), where=has_address),
        "port": _where(numpy.array([443, 5432, 53])[random.integers(0, 3, rows)], has_address),
        "fd": _where(random.integers(0, 1000, rows), (kinds == "fd") | (kinds == "bytes")),
        "bytes": _where(numpy.maximum(ret, 0), (kinds == "bytes") & ~has_failed),
        "stack": pyarrow.nulls(rows, pyarrow.string()),
        "args": _arguments(random, moved, call),
    }
    return pyarrow.table([pyarrow.array(columns[name]) for name in SCHEMA.names], schema=SCHEMA)


def _repeat(text: str, rows: int) -> Any:
    return pyarrow.repeat(pyarrow.scalar(text), rows)


def _where(values: "NDArray[Any]", where: "NDArray[Any]") -> Any:
    return pyarrow.array(values.astype(numpy.int64), mask=~where)


def _pick(texts: Any, index: "NDArray[Any]", *, where: "NDArray[Any] | None" = None) -> Any:
    indices = pyarrow.array(index.astype(numpy.int32), mask=None if where is None else ~where)
    return pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(list(texts))).dictionary_decode()


def _paths(random: Generator, rows: int, *, where: "NDArray[Any]") -> Any:
    texts = [f"{each}/{chr(97 + number % 26)}{number:03}" for each in DIRECTORIES for number in range(300)]
    return _pick(texts, random.zipf(1.2, rows) % len(texts), where=where)


def _arguments(random: Generator, moved: "NDArray[Any]", call: "NDArray[Any]") -> Any:
    """Return two arguments a row: ``flags``, and ``count`` where the call is the second or third, else ``mode``."""
    rows = len(call)
    keys = numpy.empty(2 * rows, numpy.int32)
    keys[0::2], keys[1::2] = 0, numpy.where((call == 1) | (call == 2), 1, 2)
    flags = _pick(["O_RDONLY", "O_RDWR|O_CLOEXEC", "0x80"], random.integers(0, 3, rows))
    counts = pyarrow.array(moved).cast(pyarrow.string())
    texts = pyarrow.chunked_array([flags, counts]).combine_chunks()
    order = numpy.arange(2 * rows).reshape(2, rows).T.ravel()
    offsets = pyarrow.array(numpy.arange(0, 2 * rows + 1, 2, dtype=numpy.int32))
    return pyarrow.MapArray.from_arrays(
        offsets, _pick(["flags", "count", "mode"], keys), texts.take(pyarrow.array(order))
    )
