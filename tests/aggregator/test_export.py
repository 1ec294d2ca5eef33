"""Recordings as Arrow, Parquet, CSV and NDJSON, and reports of stored events, by the command line."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import ipc, parquet

from tests.support.recordings import EPOCH, SCHEMA, calls, opened, padded, write_recording
from tests.support.records import Capture, Record, encode
from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.stored.export import FORMS, export, recording_tables
from traceleft.aggregator.stored.parquet import open_data
from traceleft.cli.main import main
from traceleft.errors import ExpressionError, FormatError, RecordingError
from traceleft.tracer.decode.texts import from_column, to_bytes
from traceleft.tracer.recording import Recording

# What Ibis calls has another name by now.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_recording(tmp_path / "a.rec", calls(40), calls(20, 40))


def read_rows(path: Path, form: str) -> list[dict[str, Any]]:
    """Return what was exported as objects, and the arguments as an object."""
    match form:
        case "arrow":
            with ipc.open_file(path) as reader:
                rows = reader.read_all().to_pylist()
        case "parquet":
            rows = [row for file in open_data(path).files for row in parquet.ParquetFile(file).read().to_pylist()]
        case "ndjson":
            return [json.loads(line) for line in path.read_text().splitlines()]
        case "csv":
            with path.open(newline="") as file:
                return [read_line(row) for row in csv.DictReader(file)]
    return [{**row, "args": dict(row["args"])} for row in rows]


def read_line(row: dict[str, str]) -> dict[str, Any]:
    """Return a line of CSV with the types that its columns have; what is empty is null (no text here is)."""
    read: dict[str, Callable[[str], Any]] = {"integer": int, "text": str, "map": json.loads}
    return {each.name: read[each.type](row[each.name]) if row[each.name] else None for each in COLUMNS}


def wanted_rows(path: Path) -> list[dict[str, Any]]:
    """Return the columns of a recording's events, event by event."""
    rows = []
    with Recording.open(path) as opened_recording:
        for event in opened_recording.events():
            args = {name: value if isinstance(value, str) else str(value) for name, value in event.args.items()}
            row: dict[str, Any] = {column.name: getattr(event, column.name, None) for column in COLUMNS}
            fd = event.args["fd"] if event.event == "close" else None
            rows.append({**row, "host": "box", "path": args.get("filename"), "fd": fd, "args": args})
    return rows


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_columns(form: str, recording: Path, tmp_path: Path) -> None:
    written = export([recording], tmp_path / "out", form)

    rows = read_rows(tmp_path / "out", form)
    assert written == 60
    assert rows == wanted_rows(recording)
    assert all(list(row) == [column.name for column in COLUMNS] for row in rows)


def test_expressions_choose_events(recording: Path, tmp_path: Path) -> None:
    export([recording, recording], tmp_path / "out", "ndjson", expressions=["%file"])

    assert [row["event"] for row in read_rows(tmp_path / "out", "ndjson")] == ["openat"] * 60
    with pytest.raises(ExpressionError, match="no event is named 'opn'"):
        export([recording], tmp_path / "none", "ndjson", expressions=["opn"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("form", FORMS)
def test_damaged_recording_is_exported_up_to_the_damage(form: str, recording: Path, tmp_path: Path) -> None:
    end = recording.stat().st_size
    cut = tmp_path / "cut.rec"
    cut.write_bytes(recording.read_bytes()[: end - 10])

    with pytest.raises(RecordingError) as caught:
        export([cut], tmp_path / "out", form)

    assert caught.value.events_read == 60
    assert len(read_rows(tmp_path / "out", form)) == 60


def test_rows_of_a_part_are_in_order_of_time(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "late.rec", [opened(9), opened(3), opened(5)])

    with Recording.open(path) as late:
        [table] = recording_tables(late)

    assert table["ts"].to_pylist() == [EPOCH + 1000 * number for number in (3, 5, 9)]


def test_exported_again_replaces_its_files(recording: Path, tmp_path: Path) -> None:
    for _ in range(2):
        export([recording], tmp_path / "out", "parquet")

    assert len(read_rows(tmp_path / "out", "parquet")) == 60


def test_parquet_goes_below_a_directory_only(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")

    with pytest.raises(FormatError, match="file: is not a directory"):
        export([recording], tmp_path / "file", "parquet")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("form", FORMS)
def test_full_disk_is_one_line(form: str, recording: Path, tmp_path: Path) -> None:
    command = (
        f'ulimit -f 0; exec "{sys.executable}" -m traceleft export "{recording}" -o "{tmp_path}/out" --format {form}'
    )

    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "too large" in done.stderr.lower()
    assert f"{tmp_path}/out" in done.stderr
    assert not [*tmp_path.rglob("*.parquet")]


def test_report_of_a_recording_and_of_its_parquet_are_equal(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(recording), "-o", str(tmp_path / "out")]) == 0
    assert capfd.readouterr().err == f"traceleft: 60 events written to {tmp_path}/out\n"
    options = ["report", "--rollup", "syscalls", "--format", "json"]

    printed = []
    for data in (recording, tmp_path / "out", next((tmp_path / "out").rglob("*.parquet"))):
        assert main([*options, "--data", str(data)]) == 0
        printed.append(capfd.readouterr().out)
    assert main([*options, "--data", str(recording), "-o", str(tmp_path / "file")]) == 0

    rows = [json.loads(line) for line in printed[0].splitlines()]
    assert {row["event"]: row["count"] for row in rows} == {"close": 30, "openat": 30}
    assert {*printed, (tmp_path / "file").read_text()} == {printed[0]}


def test_report_of_a_damaged_recording_is_of_what_lies_before(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.rec"
    cut.write_bytes(recording.read_bytes()[:-10])

    status = main(["report", "--rollup", "syscalls", "--format", "json", "--data", str(cut)])

    captured = capfd.readouterr()
    assert status == 1
    assert sum(json.loads(line)["count"] for line in captured.out.splitlines()) == 60
    assert "cut.rec: " in captured.err


ROLLUPS = """
[rollup.a]
by = ["event"]
[rollup.b]
by = ["nothing"]
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rollup", "nosuch", "--data", "DATA"], "no rollup is named 'nosuch'"),
        (
            ["--rollup", "rollups.toml", "--data", "DATA"],
            "rollups.toml:5: rollup b: `by`: no column is named",
        ),
        (["--rollup", "two.toml", "--data", "DATA"], "two.toml: holds 2 rollups; choose one: two.toml:a"),
        (["--rollup", "two.toml", "--name", "c", "--data", "DATA"], "two.toml: no rollup is named 'c'"),
        (["--rollup", "io", "--data", "absent"], "absent: does not exist"),
        (["--rollup", "io", "--data", "."], ".: holds no Parquet file"),
        (["--rollup", "io", "--data", "two.toml"], "two.toml: is not a recording"),
        (["--rollup", "io", "--data", "s3://bucket"], "s3://bucket: DuckDB reads directories of this machine"),
        (["--rollup", "wrong.toml", "--data", "DATA"], "wrong.toml:2: rollup w: no event is named 'opn'"),
    ],
)
def test_mistake_is_one_line(
    options: list[str],
    message: str,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rollups.toml").write_text(ROLLUPS)
    Path("two.toml").write_text(ROLLUPS.replace("nothing", "comm"))
    Path("wrong.toml").write_text('[rollup.w]\nevents = ["opn"]')

    status = main(["report", *(str(recording) if each == "DATA" else each for each in options)])

    captured = capfd.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (1, "", 1)
    assert message in captured.err


@pytest.mark.parametrize(
    ("package", "options", "message"),
    [
        (
            "pyarrow",
            ["export", "REC", "-o", "x"],
            "package pyarrow is missing; install it with: pip install 'traceleft[arrow]'",
        ),
        ("duckdb", ["report", "--rollup", "io", "--data", "REC"], "the engine duckdb: pip install 'traceleft[report]'"),
        (
            "pyspark",
            ["report", "--rollup", "io", "--data", "REC", "--engine", "spark"],
            "the engine spark: pip install 'traceleft[fleet]' (package pyspark is missing)",
        ),
        (
            None,
            ["report", "--rollup", "io", "--data", "REC", "--engine", "spark"],
            "the engine spark: needs Java 17 or later: apt install openjdk-17-jre-headless",
        ),
    ],
    ids=["pyarrow", "duckdb", "pyspark", "java"],
)
def test_missing_package_is_told_with_its_extra(
    package: str | None, options: list[str], message: str, recording: Path, tmp_path: Path
) -> None:
    """In another process, whose modules can be taken away."""
    arguments = [str(recording) if each == "REC" else each for each in options]
    code = f"import sys; sys.modules[{package!r}] = None; from traceleft.cli.main import main; "
    code += f"sys.exit(main({arguments!r}))"

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAVA_HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr


@pytest.mark.spark
def test_report_on_spark_is_that_on_duckdb(recording: Path, tmp_path: Path) -> None:
    export([recording], tmp_path / "out", "parquet")
    command = [sys.executable, "-m", "traceleft", "report", "--rollup", "io", "--data", str(tmp_path / "out")]

    done = [
        subprocess.run([*command, "--engine", each], capture_output=True, timeout=300) for each in ("duckdb", "spark")
    ]

    assert [(each.returncode, each.stderr) for each in done] == [(0, b"")] * 2
    assert done[0].stdout == done[1].stdout
    assert b"comm" in done[0].stdout


ODD_NAMES = {b"a\\x2db": "a\\x2db", b"b\xff\\": "b\ufffd\\", "c\U0010ff81".encode(): "c\U0010ff81"}


@pytest.fixture
def odd_recording(tmp_path: Path) -> Path:
    spec = SCHEMA.events["openat"]
    captures = [{0: Capture(name)} for name in ODD_NAMES]
    records = [Record(args=(3, 0x1000), captures=each, seq=at, ts=at) for at, each in enumerate(captures)]
    return write_recording(tmp_path / "odd.rec", [padded(encode(spec, record)) for record in records])


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_not_utf_8_come_back_from_every_form(form: str, odd_recording: Path, tmp_path: Path) -> None:
    export([odd_recording], tmp_path / "out", form)

    rows = read_rows(tmp_path / "out", form)
    if form == "ndjson":
        assert [row["path"] for row in rows] == [*ODD_NAMES.values()]
        exact = [row.get("text_bytes") for row in rows]
        assert exact == [None, {"path": "Yv9c", "filename": "Yv9c"}, None]
    else:
        assert [to_bytes(from_column(row["path"])) for row in rows] == [*ODD_NAMES]
        assert [row["args"]["filename"] for row in rows] == [row["path"] for row in rows]


@pytest.mark.parametrize("data", ["recording", "parquet"])
def test_rows_and_conditions_are_of_the_names_themselves(
    data: str, odd_recording: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = odd_recording
    if data == "parquet":
        path = tmp_path / "events"
        export([odd_recording], path, "parquet")

    def report(where: str = "") -> list[dict[str, Any]]:
        text = f"[rollup.by]\nby = ['path']\nmeasures = ['count']\n{where}"
        (tmp_path / "by.toml").write_text(text)
        command = ["report", "--rollup", str(tmp_path / "by.toml"), "--data", str(path), "--format", "json"]
        assert main(command) == 0
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    rows = report()
    assert sorted(row["path"] for row in rows) == sorted(ODD_NAMES.values())
    assert [row["key_bytes"] for row in rows if "key_bytes" in row] == [{"path": "Yv9c"}]
    assert [row["path"] for row in report("where = 'path == \"a\\\\x2db\"'\n")] == ["a\\x2db"]
