"""Whole runs of the generator."""

from pathlib import Path

import pytest

from tests.support.paths import TESTS
from traceleft.errors import FormatError
from traceleft.generator import generate
from traceleft.generator.format_source import read_source

SNAPSHOTS = sorted((TESTS / "data" / "formats").glob("*.json.xz"))
LATEST_LONG_TERM = next(path for path in SNAPSHOTS if path.name.startswith("6.18"))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.name.removesuffix(".json.xz"))
def test_each_syscall_of_a_capture_gets_its_handler(path: Path, tmp_path: Path) -> None:
    generated = generate(path, output=tmp_path / "out")

    handlers = {handler.name.removesuffix(".bpf.c") for handler in (tmp_path / "out").glob("*.bpf.c")}
    assert handlers == set(generated.events)
    assert len(handlers) > 280


def test_second_run_gives_the_same_bytes_and_writes_nothing(tmp_path: Path) -> None:
    first = generate(LATEST_LONG_TERM, expressions=["%file,sched:sched_switch"], output=tmp_path / "a")
    before = contents(tmp_path / "a")

    again = generate(LATEST_LONG_TERM, expressions=["sched:sched_switch", "%file"], output=tmp_path / "a")
    generate(LATEST_LONG_TERM, expressions=["%file,sched:sched_switch"], output=tmp_path / "b")

    assert len(first.files.written) == len(before) - 1
    assert again.files.written == again.files.removed == ()
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == before


def test_directory_and_its_snapshot_give_the_same(tmp_path: Path) -> None:
    source = read_source(LATEST_LONG_TERM)
    directory = tmp_path / f"{source.release}-{source.machine}"
    for key, text in source.formats.items():
        (directory / key).mkdir(parents=True)
        (directory / key / "format").write_text(text)

    generate(LATEST_LONG_TERM, expressions=["%network"], output=tmp_path / "a")
    generate(directory, expressions=["%network"], output=tmp_path / "b")

    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_bad_configuration_writes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "events.toml"
    config.write_text('events = ["openatt"]\n')

    with pytest.raises(FormatError, match=r"events.toml:1: no event is named 'openatt'; nearest: openat"):
        generate(LATEST_LONG_TERM, config=config, output=tmp_path / "out")

    assert not (tmp_path / "out").exists()
