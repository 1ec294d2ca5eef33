"""Format files and snapshots, as far as the schema and the C text that are made of them."""

import gzip
import json
import lzma
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.kinds import Case, kind
from tests.fuzz.mutation import encode_document, mutate_bytes, mutate_document, mutate_text, words_of
from traceleft.generator.format_source import FormatSource
from traceleft.generator.render import render
from traceleft.generator.run import describe
from traceleft.generator.schema import make_schema
from traceleft.tracer.schema.load import load_schema

SNAPSHOT = Path(__file__).parent.parent / "data" / "formats" / "6.18.44.json.xz"
CALLS = ("openat", "connect", "io_uring_register", "execve", "readv", "getdents64", "futex", "close")
POINTS = ("sched/sched_switch", "sock/inet_sock_set_state", "signal/signal_generate")
WORDS = words_of(
    "field:~offset:~size:~signed:~name: ~ID: ~format:\n~print fmt: ~__data_loc ~unsigned ~char *~const ~struct x *~int "
    "~long ~u64 ~[16]~[]~__print_symbolic(~{ 1, ~REC->~;"
)


def read_formats() -> dict[str, str]:
    formats: dict[str, str] = json.loads(lzma.decompress(SNAPSHOT.read_bytes()))["formats"]
    wanted = [f"syscalls/sys_{side}_{name}" for name in CALLS for side in ("enter", "exit")]
    return {name: formats[name] for name in (*wanted, *POINTS) if name in formats}


@kind("format", 14)
def formats(directory: Path) -> Case:
    sound = read_formats()
    calls = [name for name in CALLS if f"syscalls/sys_enter_{name}" in sound]
    points = [name for name in POINTS if name in sound]

    def run(random: Random) -> None:
        event = random.choice(calls + points)
        keys = [event] if "/" in event else [f"syscalls/sys_{side}_{event}" for side in ("enter", "exit")]
        texts = {key: sound[key] for key in keys}
        hostile = random.choice(keys)
        texts[hostile] = mutate_text(random, texts[hostile], words=WORDS)
        made = make_schema(FormatSource("6.1.0", "x86_64", texts), events=[event.replace("/", ":")])
        load_schema(made.document)
        if random.random() < 0.1:
            render(made.document)

    return run


@kind("snapshot", 4)
def snapshots(directory: Path) -> Case:
    document: dict[str, Any] = {"snapshot": 1, "release": "6.1.0", "machine": "x86_64", "formats": read_formats()}
    plain = json.dumps(document).encode()
    packed = [gzip.compress(plain, mtime=0), lzma.compress(plain), plain]

    file = directory / "hostile"

    def run(random: Random) -> None:
        if random.random() < 0.4:
            file.write_bytes(mutate_bytes(random, random.choice(packed)))
        else:
            text = encode_document(random, mutate_document(random, document))
            file.write_bytes(random.choice((gzip.compress, bytes))(text))
        describe(file, expressions=random.choice(([], ["openat"], ["all"])))

    return run
