"""What each command says and leaves where there is no room: a line that names the file, and a status that is not 0."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_cli import traceleft
from tests.support.batteries import write_battery
from tests.support.full_disk import full_disk
from tests.support.paths import TESTS
from tests.support.recordings import calls, write_recording

pytestmark = pytest.mark.kernel

SNAPSHOT = str(TESTS / "data" / "formats" / "6.18.44.json.xz")
FULL = "o space left on "
WRITING = {
    "replay": ["replay", "rec", "--format", "json", "-o", "full/out"],
    "replay as text": ["replay", "rec", "-o", "full/out"],
    "export to Parquet": ["export", "rec", "-o", "full/out", "--format", "parquet"],
    "export to Arrow": ["export", "rec", "-o", "full/out", "--format", "arrow"],
    "export to CSV": ["export", "rec", "-o", "full/out", "--format", "csv"],
    "export to lines": ["export", "rec", "-o", "full/out", "--format", "ndjson"],
    "report": ["report", "rec", "--html", "full/out"],
    "generate": ["generate", "--formats", SNAPSHOT, "-e", "openat", "-o", "full/out"],
    "pack": ["battery", "pack", "battery", "-o", "full/out"],
    "unpack": ["battery", "unpack", "packed", "-o", "full/out"],
    "ledger": ["replay", "rec", "-o", "/dev/null", "--ledger", "full/out"],
    "lines to a sink": ["replay", "rec", "--sink", "ndjson:full/out", "--fail-on-loss"],
    "Parquet to a sink": ["replay", "rec", "--sink", "parquet:full/out", "--fail-on-loss"],
}
NOTHING_LEFT = ("generate", "pack", "unpack", "export to Parquet", "Parquet to a sink")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a directory with a recording, a battery, and a file system without room."""
    path = tmp_path_factory.mktemp("place")
    write_recording(path / "rec", calls(3000), calls(3000, first=3000))
    write_battery(path / "battery")
    assert traceleft("battery", "pack", "battery", "-o", "packed", cwd=path).returncode == 0
    with full_disk(path / "full"):
        yield path


@pytest.mark.parametrize("name", WRITING)
def test_full_disk_is_named_with_the_file_and_a_status(place: Path, name: str) -> None:
    done = traceleft(*WRITING[name], cwd=place)

    lines = [line for line in done.stderr.splitlines() if FULL in line]
    assert done.returncode in (1, 3)
    assert lines, done.stderr
    assert all("full/out" in line and line.startswith("traceleft: ") for line in lines)
    assert "Traceback" not in done.stderr
    left = files_below(place / "full" / "out")
    shutil.rmtree(place / "full" / "out", ignore_errors=True)
    (place / "full" / "out").unlink(missing_ok=True)
    assert name not in NOTHING_LEFT or left == []


def files_below(path: Path) -> list[str]:
    """Return the files of a directory, or the file itself."""
    return [str(each) for each in (path, *path.rglob("*")) if each.is_file()]


def test_recording_without_room_for_its_head_is_not_left(kernel_battery: Path, place: Path) -> None:
    done = traceleft("record", "--battery", str(kernel_battery), "-o", "full/rec", "--", "true", cwd=place)

    assert done.returncode == 1
    assert done.stderr == "traceleft: full/rec: No space left on device\n"
    assert not (place / "full" / "rec").exists()
