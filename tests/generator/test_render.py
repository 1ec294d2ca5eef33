"""The C that is rendered: reviewed golden files, and what clang says of all of it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import TESTS
from traceleft.generator.captures import length_expression
from traceleft.generator.handler_model import identifier
from traceleft.generator.output_directory import write_output
from traceleft.generator.render import render, render_handler, templates_digest
from traceleft.generator.run import describe

FORMATS = TESTS / "data/formats"
OLDEST = FORMATS / "4.4.121.json.xz"
NEWEST = FORMATS / "7.2.13+deb14-cloud-amd64.json.xz"
GOLDEN_EVENTS = ("openat", "execve", "accept4", "exit_group", "rt_sigreturn", "writev", "sched:sched_process_exec")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(NEWEST, expressions=[",".join(GOLDEN_EVENTS)]).document


@pytest.mark.parametrize("name", GOLDEN_EVENTS)
def test_handler_is_as_reviewed(document: dict[str, Any], golden: Callable[[str, str], None], name: str) -> None:
    text = render_handler(name, document["events"][name], document["tables"]["structs"])

    golden(f"handlers/{identifier(name)}.bpf.c", text)


def test_core_is_as_reviewed(document: dict[str, Any], golden: Callable[[str, str], None]) -> None:
    golden("handlers/core.c", render(document)["core.c"])


@pytest.mark.parametrize("capture", [OLDEST, NEWEST], ids=["4.4", "7.2"])
def test_every_handler_of_a_capture_compiles_without_a_warning(capture: Path, tmp_path: Path) -> None:
    names = ["/./", "sched:sched_process_fork", "signal:signal_generate"]
    write_output(tmp_path, render(describe(capture, expressions=names).document))
    sources = sorted(path.name for path in tmp_path.glob("*.c"))
    flags = ["-target", "bpf", "-fsyntax-only", "-Wall", "-Werror", "-nostdinc"]

    done = subprocess.run(["clang", *flags, *sources], cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert done.stderr == ""
    assert done.returncode == 0


def test_digest_of_the_templates_is_that_of_their_text() -> None:
    assert templates_digest() == templates_digest()
    assert templates_digest().startswith("sha256:")
    assert len(templates_digest()) == len("sha256:") + 64


@pytest.mark.parametrize(
    ("length", "expression"),
    [
        ({"arg": 1}, "(__u32)call->args[1]"),
        ({"arg": 2}, "call->args[2]"),
        ({"ret": True}, "call->ret"),
        ({"ret": True, "arg": 2}, "minimum(call->ret, call->args[2])"),
        ({"pointer": 2, "width": 4}, "read_length(call->args[2])"),
        ({"constant": 2}, "2"),
    ],
    ids=str,
)
def test_length_becomes_an_expression(length: dict[str, Any], expression: str) -> None:
    event = {"args": [{"index": 1, "width": 4}, {"index": 2, "width": 8}]}

    assert length_expression(event, length) == expression
