"""Where libbpf is missing or does not serve, recordings are read all the same, and a trace says what to install."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import TESTS
from tests.support.recordings import calls, write_recording
from traceleft.tracer import _native

MISSING = "traceleft: libbpf.so.1 is not installed: apt install libbpf1\n"


def run_with(environment: dict[str, str], directory: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a directory of its own."""
    command = [sys.executable, "-m", "traceleft", *map(str, words)]
    every = {**os.environ, "HOME": str(directory), "XDG_CACHE_HOME": str(directory), **environment}
    return subprocess.run(command, cwd=directory, env=every, capture_output=True, text=True, timeout=120, check=False)


def compile_library(source: Path, output: Path) -> Path:
    subprocess.run(["gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", output, source], check=True)
    return output


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the loader finds no libbpf."""
    library = tmp_path_factory.mktemp("hidden") / "no_libbpf.so"
    return {"LD_AUDIT": str(compile_library(TESTS / "programs/no_libbpf.c", library))}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "calls.rec", calls(8))


def test_library_is_not_linked() -> None:
    needed = subprocess.run(["ldd", _native.__file__], capture_output=True, text=True, check=True).stdout

    assert "libc.so" in needed
    assert "libbpf" not in needed


@pytest.mark.parametrize(
    ("words", "made"),
    [
        (("replay", "calls.rec", "-o", "lines"), "lines"),
        (("replay", "calls.rec", "--format", "json", "-o", "lines"), "lines"),
        (("stat", "-i", "calls.rec", "-o", "rows"), "rows"),
        (("report", "--html", "page.html", "calls.rec"), "page.html"),
        (("export", "calls.rec", "-o", "calls.csv", "--format", "csv"), "calls.csv"),
    ],
    ids=["replay", "replay json", "stat", "report", "export"],
)
def test_recording_is_read_as_ever(hidden: dict[str, str], recording: Path, words: tuple[str, ...], made: str) -> None:
    place = recording.parent
    done = run_with(hidden, place, *words)
    without = (place / made).read_bytes()
    (place / made).unlink()

    assert (done.returncode, run_with({}, place, *words).returncode) == (0, 0), done.stderr
    assert without == (place / made).read_bytes()


@pytest.mark.parametrize(
    "words", [("trace", "--", "true"), ("record", "-o", "x.rec", "--", "true"), ("stat", "--", "true"), ("doctor",)]
)
def test_what_needs_the_kernel_says_what_to_install(
    hidden: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = run_with(hidden, tmp_path, *words)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", MISSING)


def test_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "libbpf.so.1").touch()
    done = run_with({"LD_LIBRARY_PATH": str(tmp_path)}, tmp_path, "trace", "--", "true")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"traceleft: libbpf.so.1 cannot be loaded ({tmp_path}/libbpf.so.1: file too short): "
        "apt install --reinstall libbpf1\n"
    )


def test_library_of_another_version_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    source = tmp_path / "old.c"
    source.write_text("int bpf_enable_stats(int type) { return type; }\n")
    compile_library(source, tmp_path / "libbpf.so.1")
    done = run_with({"LD_LIBRARY_PATH": str(tmp_path)}, tmp_path, "trace", "--", "true")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("traceleft: libbpf.so.1 lacks the function bpf_link__destroy: install libbpf 1.0 or later\n")
