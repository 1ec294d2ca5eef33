"""What people write: TOML of rollups, rules and configurations, run over events; expressions, times, sinks, options."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.kinds import Case, kind
from tests.fuzz.kinds_recordings import DOCUMENT, SCHEMA, sound_recording
from tests.fuzz.mutation import mutate_bytes, mutate_text, words_of
from traceleft.aggregator.rollups.parse import parse_condition, parse_key, parse_measure, parse_time
from traceleft.aggregator.rollups.rollup_check import check_rollup
from traceleft.aggregator.rollups.rollup_files import read_rollups
from traceleft.aggregator.rules.rule import check_rule, read_rules
from traceleft.aggregator.rules.watch import Watcher
from traceleft.aggregator.sinks.urls import SinkUrl
from traceleft.aggregator.streaming.engine import Aggregator
from traceleft.cli import option_types as cli_types
from traceleft.expression import select
from traceleft.generator.config import read_config
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.recording import Recording
from traceleft.tracer.schema.select import read_catalogue

ROLLUP: Final = """\
[rollup.files]
description = "by file"
events = ["%file", "openat,close", "!connect", "/ope.*/"]
where = 'path.startswith("/etc") or error in ("ENOENT", "EPERM") and not duration > 5 or int(args.flags) == 1'
by = ["prefix(path, 3) as top", "event", "comm"]
measures = ["count", "p99(duration) as p99_ns", "sum(ret)", "histogram(duration)", "min(ts)"]
window = "10s"
slide = "2s"
lateness = "1s"
top = 50
order_by = "p99_ns"
max_keys = 100
"""
RULE: Final = """\
[rule.opens]
events = ["openat"]
where = "error is not None"
by = ["pid", "comm"]
measures = ["count", "max(duration) as longest"]
window = "10s"
count = ">2"
message = "{comm} ({pid}) failed {count} times, {longest} ns"
severity = "warning"
cooldown = "1m"
limit = "10/min"
"""
CONFIG: Final = """\
events = ["openat", "%network", "/^read/"]

[event.openat]
arguments = ["filename", "flags"]

[event."sched:sched_switch"]
arguments = ["prev_comm"]
"""
WORDS: Final = words_of(
    ' and ~ or ~not ~ in ~is None~args.~args["x"]~int(~prefix(path, ~count~p99.9(~ as ~duration~path~error~ret~ts'
    "~cgroup~stack~==~<=~\"~'~[~]~\n~ = ~[rule.x]~1ns~3600ns~10s~9d~lambda: 0~x for x in y~f'{x}'~(?x)~(a*)*~|~%~!"
)
EXPRESSIONS: Final = ("openat", "%file", "!%file", "/^(open|close).*$/", "%network", "all", "!openat,close")
CONDITIONS: Final = tuple(line.split("=", 1)[1].strip(" '\"") for line in ROLLUP.split("\n") if line[:5] == "where")
KEYS: Final = ("prefix(path, 3) as top", "event", "args.flags as f", "int(args.fd)", "ts", "stack")
MEASURES: Final = ("count", "errors", "bytes", "p99.9(duration) as p", "exact_p50(int(args.fd))", "histogram(ret)")
SINKS: Final = (
    "ndjson:/x?rotate=100MiB&keep=10&every=1h&sync=rotate&take=events,rows",
    "otlp:http://u:p@127.0.0.1:4318?timeout=5s",
    "prometheus:127.0.0.1:9435",
    "parquet:d?every=1m",
)
OPTIONS: Final = (
    (("1,2,3", "5"), cli_types.pid_list),
    (("root", "0"), cli_types.user),
    (("cat", "a b"), cli_types.task_name),
    (("ENOENT", "2"), cli_types.error_number),
    (("1.5", "2"), cli_types.seconds),
    (("100M", "64K"), cli_types.byte_size),
)


@kind("toml", 12)
def toml(directory: Path) -> Case:
    file = directory / "hostile.toml"
    path = directory / "sound"
    sound_recording(path)
    with Recording.open(path) as recording:
        batches = [*recording.batches()]
    readers: dict[str, Callable[[Path], object]] = {
        ROLLUP: partial(_roll_up, batches),
        RULE: partial(_watch, batches),
        CONFIG: read_config,
    }
    for text, read in readers.items():
        file.write_text(text)
        read(file)

    def run(random: Random) -> None:
        text = random.choice([*readers])
        data = mutate_text(random, text, words=WORDS).encode(errors="surrogatepass")
        file.write_bytes(mutate_bytes(random, data) if random.random() < 0.15 else data)
        readers[text](file)

    return run


def _roll_up(batches: Sequence[Batch], file: Path) -> None:
    for rollup in read_rollups(file):
        check_rollup(rollup, SCHEMA.events)
        aggregator = Aggregator(rollup, SCHEMA.events, tables=SCHEMA.tables)
        for batch in batches:
            aggregator.add(batch)
        aggregator.finish()


def _watch(batches: Sequence[Batch], file: Path) -> None:
    rules = read_rules([file])
    for rule in rules:
        check_rule(rule, SCHEMA.events)
    watcher = Watcher(rules, SCHEMA.events, str)
    for batch in batches:
        watcher.add(batch)
    watcher.end_round()


def _read_option(read: Callable[[str], object], text: str) -> None:
    """Read an option as the command line has it: bytes that are not UTF-8 are escaped."""
    read(os.fsdecode(text.encode(errors="surrogatepass")))


@kind("expression", 14)
def expressions(directory: Path) -> Case:
    catalogue = read_catalogue(json.dumps(DOCUMENT).encode())
    readers: Sequence[tuple[Sequence[str], Callable[[str], object]]] = (
        (EXPRESSIONS, lambda text: select([text], catalogue, default=catalogue.names)),
        (CONDITIONS, parse_condition),
        (("count > 2 and not count == 7",), lambda text: parse_condition(text, numbers=["count"])),
        (KEYS, parse_key),
        (MEASURES, parse_measure),
        (("10s", "3600ns", "9d"), parse_time),
        (SINKS, SinkUrl.parse),
        *((texts, partial(_read_option, read)) for texts, read in OPTIONS),
    )

    for texts, read in readers:
        for text in texts:
            read(text)

    def run(random: Random) -> None:
        texts, read = random.choice(readers)
        read(mutate_text(random, random.choice(texts), words=WORDS))

    return run
