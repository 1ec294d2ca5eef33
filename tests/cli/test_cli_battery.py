"""Which battery a trace uses, and ``doctor``, on the live kernel."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.paths import TESTS
from traceleft.battery.builder.build import build
from traceleft.cli import main as cli
from traceleft.cli.batteries import (
    cache_directory,
    catalogue_of,
    choose_battery,
    choose_from_kernel,
    discard,
    make_battery,
)
from traceleft.errors import BatteryError, ExpressionError
from traceleft.generator import format_source, generate

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work where no battery is found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TRACELEFT_BATTERY", raising=False)
    return tmp_path


@pytest.fixture
def cached(kernel_battery: Path) -> Path:
    """Put a battery with every syscall into the user's cache."""
    return Path(shutil.copytree(kernel_battery, cache_directory() / "battery"))


def build_small(path: Path, expressions: Sequence[str]) -> None:
    generate(None, expressions=expressions, output=path.parent / "generated")
    build(path.parent / "generated", path)


def test_nothing_found_means_that_one_is_to_be_made() -> None:
    choice = choose_battery(None, ["openat"])

    assert choice.battery is None
    assert choice.events == ("openat",)


def test_without_expressions_calls_count_whose_formats_the_kernel_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    """4.4 shows no formats of those that make processes."""
    snapshot = format_source.read_source(TESTS / "data/formats/4.4.121.json.xz")
    monkeypatch.setattr(format_source, "read_source", lambda path: snapshot)

    events = choose_from_kernel([])

    assert events is not None
    assert {"execve", "execveat", "clone", "fork", "vfork", "openat"} <= set(events)


def test_unknown_event_is_refused_before_a_battery_is_made() -> None:
    with pytest.raises(ExpressionError, match="nearest: openat"):
        choose_battery(None, ["opnat"])

    assert not cache_directory().exists()


def test_battery_of_the_cache_is_found(cached: Path) -> None:
    choice = choose_battery(None, [])

    assert choice.battery is not None
    assert choice.battery.path == cached
    assert len(choice.events) > 300
    assert not any(":" in name for name in choice.events)


def test_battery_of_a_checkout_comes_before_the_cache(cached: Path) -> None:
    Path("build").mkdir()
    shutil.copytree(cached, "build/battery")

    choice = choose_battery(None, [])

    assert choice.battery is not None
    assert choice.battery.path == Path("build/battery")


def test_battery_that_lacks_what_is_asked_for_is_passed_over() -> None:
    build_small(Path("build/battery"), ["openat"])

    assert choose_battery(None, ["openat"]).battery is not None
    assert choose_battery(None, ["close"]).battery is None
    assert choose_battery(None, ["!openat"]).battery is None
    assert choose_battery(None, []).battery is None


def test_battery_that_others_can_write_to_is_passed_over(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached.chmod(0o777)

    choice = choose_battery(None, [])

    assert choice.battery is None
    assert "can be written by others" in capsys.readouterr().err


def test_named_battery_is_used_whoever_can_write_to_it(cached: Path) -> None:
    cached.chmod(0o777)

    assert choose_battery(cached, []).battery is not None


def test_battery_of_the_environment_is_used_or_refused(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACELEFT_BATTERY", "/nosuch")

    with pytest.raises(BatteryError, match="/nosuch"):
        choose_battery(None, [])


def test_damaged_battery_is_passed_over_with_a_notice(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cached / "manifest.json").write_text("{")

    assert choose_battery(None, []).battery is None
    assert "manifest.json" in capsys.readouterr().err


def test_made_battery_keeps_what_the_cache_held_and_adds_what_is_missing(cached: Path) -> None:
    before = choose_battery(None, ["sched:sched_process_exit"])

    made = make_battery(before.events)
    names = catalogue_of(made).names

    assert before.battery is None
    assert {"openat", "sched:sched_process_exec", "sched:sched_process_exit"} <= names
    assert choose_battery(None, ["sched:sched_process_exit"]).battery is not None


def test_without_clang_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nosuch")

    with pytest.raises(BatteryError, match="clang is not installed: install it with: apt-get install clang llvm"):
        make_battery(["openat"])


def test_doctor_says_what_is_offered_and_used(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor"])
    text = capsys.readouterr().out

    assert status == 0
    assert f"battery          {cached}" in text
    assert "ring buffer" in text


def test_doctor_s_json_is_one_document(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)

    assert document["features"]["ring_buffer"]["present"] is True
    assert document["chosen"]["battery"] == {"present": True, "value": str(cached)}
    assert document["chosen"]["hook"]["value"] in ("raw_tracepoint", "tracepoint", "kprobe")


def test_list_shows_typed_fields(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "-e", "openat"])

    assert capsys.readouterr().out.startswith(
        "openat(dfd: int (dirfd), filename: const char * (path), flags: int (set "
    )


def test_list_shows_the_events_that_every_battery_has(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "-e", "signal,openat", "-e", "process_exit"])
    named = capsys.readouterr().out.splitlines()
    cli.main(["list"])
    every = capsys.readouterr().out.splitlines()

    assert [line.partition("(")[0] for line in named] == ["openat", "process_exit", "signal"]
    assert named[1:] == [
        "process_exit(status: int (wait_status))",
        "signal(signal: int (set signal), info: siginfo_t (struct siginfo))",
    ]
    assert [line.partition("(")[0] for line in every[-3:]] == ["process_exit", "signal", "unknown"]
    assert len(every) > 300


def test_list_s_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--json", "-e", "openat,close"])
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())

    assert (first["event"], second["event"]) == ("close", "openat")
    assert first["fields"] == [{"name": "fd", "type": "unsigned int", "width": 4, "signed": False, "kind": "fd"}]


def test_snapshot_generate_and_build_need_no_options_but_places(tmp_path: Path) -> None:
    commands = [
        ["snapshot", "-o", "kernel.snapshot"],
        ["generate", "--formats", "kernel.snapshot", "-e", "openat", "-o", "generated"],
        ["build", "generated", "-o", "battery"],
    ]

    assert [cli.main(command) for command in commands] == [0, 0, 0]
    assert choose_battery(tmp_path / "battery", []).events == ("openat",)


def test_compiler_that_is_too_old_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang = tmp_path / "clang"
    clang.write_text("#!/bin/sh\necho 'Debian clang version 7.0.1'\n")
    clang.chmod(0o755)
    monkeypatch.setenv("TRACELEFT_CLANG", str(clang))

    with pytest.raises(BatteryError, match="is version 7, 12 or later is needed"):
        make_battery(["openat"])

    assert not cache_directory().exists()


def test_cache_that_others_can_write_to_is_refused_before_anything_is_made() -> None:
    cache_directory().mkdir(parents=True)
    cache_directory().chmod(0o777)

    with pytest.raises(BatteryError, match="can be written by others; set XDG_CACHE_HOME elsewhere"):
        make_battery(["openat"])

    assert list(cache_directory().iterdir()) == []


def test_cached_battery_that_is_no_use_is_made_again() -> None:
    path = cache_directory() / "battery"
    path.mkdir(parents=True, mode=0o700)
    (path / "manifest.json").write_text("{")

    made = make_battery(["openat"])

    assert "openat" in catalogue_of(made).names
    assert sorted(each.name for each in cache_directory().iterdir()) == ["battery", "lock"]


@pytest.mark.parametrize("kind", ["file", "loop", "directory", "link"])
def test_whatever_stands_in_the_battery_s_place_is_discarded_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "battery", tmp_path / "other"
    other.mkdir()
    if kind == "directory":
        (path / "objects").mkdir(parents=True)
        (path / "objects" / "link").symlink_to(other)
    elif kind == "file":
        path.write_text("")
    else:
        path.symlink_to(path if kind == "loop" else other)

    discard(path)

    assert list(tmp_path.iterdir()) == [other]


def test_reason_for_passing_over_is_told_once(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cached.chmod(0o777)

    for _ in range(3):
        choose_battery(None, [])

    assert capsys.readouterr().err.count("passed over") == 1
