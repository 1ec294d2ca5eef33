"""What a report page shows: the same numbers as stat, the account, bounded in size, and mistakes as one line."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.browser import rows_of
from tests.support.recordings import EPOCH, LEDGER, SCHEMA, calls, head, opened, padded, write_recording
from tests.support.records import Capture, Record, encode
from traceleft.aggregator.pages.charts import DEPTH_MAX
from traceleft.aggregator.pages.flame import flame_chart
from traceleft.aggregator.pages.html import TEXT_MAX, escape
from traceleft.aggregator.pages.overview import BINS_MAX, Overview, bin_width, make_overview
from traceleft.aggregator.pages.report import ROWS_MAX, balance, render_overview, render_results
from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.text.units import show_bytes, show_time, show_utc, time_unit
from traceleft.cli.main import main
from traceleft.record_layout import DURATION
from traceleft.tracer.account.ledger import Figures, Ledger
from traceleft.tracer.recording import Recorder, Recording


def overview_of(*paths: Path) -> Overview:
    recordings = [Recording.open(path) for path in paths]
    try:
        return make_overview(recordings)
    finally:
        for recording in recordings:
            recording.close()


def body_of(page: str) -> str:
    """Return a page without its scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def timed(number: int, *, name: str = "openat", after_ns: int = 1000, path: bytes = b"/etc/x") -> bytes:
    captures = {0: Capture(path)} if name == "openat" else {}
    record = Record(captures=captures, ts=after_ns * number, flags=DURATION, duration_ns=1000 * (number % 50))
    return padded(encode(SCHEMA.events[name], record))


def test_span_of_a_recording_is_that_of_its_records(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", calls(4, 10), calls(3), calls(2, 100))

    with Recording.open(path) as recording:
        assert recording.span_ns == (EPOCH, EPOCH + 101_000)
    with Recording.open(write_recording(tmp_path / "none")) as recording:
        assert recording.span_ns is None


@given(st.integers(0, 2**64), st.integers(-(2**63), 2**63 - 1))
def test_bins_are_few_wherever_a_span_begins(span_ns: int, start_ns: int) -> None:
    width = bin_width(span_ns)
    first, last = start_ns - start_ns % width, start_ns + span_ns - (start_ns + span_ns) % width

    assert (last - first) // width + 1 <= BINS_MAX
    assert width == 1 or span_ns // width >= BINS_MAX // 5 - 2
    assert str(width).rstrip("0") in ("1", "2", "5")


def test_times_hold_every_event_once(tmp_path: Path) -> None:
    records = [timed(n, name="close" if n % 3 else "openat", after_ns=7_000_000) for n in range(1000)]
    overview = overview_of(write_recording(tmp_path / "r", records[:600], records[600:]))

    times = overview.times
    assert times is not None and overview.span_ns == (EPOCH, EPOCH + 999 * 7_000_000)
    assert (times.width_ns, times.bins) == (50_000_000, 140)
    assert {name: sum(counts) for name, counts in times.events.items()} == {"close": 666, "openat": 334}
    for place in range(times.bins):
        start = times.start_ns - EPOCH + place * times.width_ns
        wanted = sum(start <= 7_000_000 * n < start + times.width_ns for n in range(1000))
        assert sum(counts[place] for counts in times.events.values()) == wanted
    every, one = times.durations[None], times.durations["openat"]
    assert (sum(every.values()), sum(one.values())) == (1000, 334)
    # 1,000 ns lies in 2^9 to 2^10 - 1.
    assert sum(count for (_, power), count in every.items() if power == 10) == 20


@pytest.mark.parametrize("offset_ns", [-(2**63), 2**63 - 2_000, -1_000_000_000])
def test_times_that_cannot_be_are_bounded(tmp_path: Path, offset_ns: int) -> None:
    records = [timed(number, after_ns=10_000_000) for number in range(200)]
    with Recorder(tmp_path / "r") as recorder:
        recorder.begin(head(offset_ns=offset_ns))
        recorder.write(b"".join(records))
        recorder.close(LEDGER)

    overview = overview_of(tmp_path / "r")

    assert overview.events == 200
    assert overview.times is None or overview.times.bins <= BINS_MAX
    assert len(body_of(render_overview(overview))) < 60_000


def test_page_has_the_numbers_of_stat(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_recording(
        tmp_path / "r", [timed(n, name="close" if n % 2 else "openat") for n in range(500)], calls(9)
    )

    assert main(["stat", "-i", str(path), "--format", "json"]) == 0
    wanted = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert main(["report", "--html", str(tmp_path / "page"), str(path)]) == 0
    rows = rows_of((tmp_path / "page").read_text(), "Every event, by the time that its calls took")

    assert [(row[0], int(row[4]), int(row[5] or 0)) for row in rows[:-1]] == [
        (each["event"], each["count"], each["errors"]) for each in wanted
    ]
    assert sum(each["count"] for each in wanted) == 509


def test_same_recording_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", [timed(n) for n in range(50)])

    assert render_overview(overview_of(path)) == render_overview(overview_of(path))


def test_stacks_are_shown_where_there_are_some(tmp_path: Path) -> None:
    overview = overview_of(write_recording(tmp_path / "r", calls(4)))
    stacks = overview.results["stacks"]
    rows = (Row(None, ("sh", "main;read"), (3,)), Row(None, None, (2,)))

    page = render_overview(replace(overview, results={**overview.results, "stacks": replace(stacks, rows=rows)}))

    figure = json.loads(page.split('id="flame-data">')[1].split("</script>")[0])["data"][0]
    assert dict(zip(figure["labels"], figure["values"], strict=True)) == {
        "all": 5,
        "sh": 3,
        "main": 3,
        "read": 3,
        "[other stacks]": 2,
    }
    assert "<h2>Stacks" not in render_overview(overview)


def test_flame_graph_has_room_for_what_can_be_seen() -> None:
    wide = {f"{';'.join('f' * depth)}": 100 for depth in range(1, 60)}

    assert flame_chart(wide).data[0]["maxdepth"] == DEPTH_MAX
    assert flame_chart({"a;b": 1000, "a;b;c;d;e": 1}).data[0]["maxdepth"] == 3


def test_recordings_of_several_hosts_add_up(tmp_path: Path) -> None:
    first = write_recording(tmp_path / "a", calls(10))
    with Recorder(tmp_path / "b") as recorder:
        recorder.begin(head(host="other-box"))
        recorder.write(b"".join(calls(6, 20)))
        recorder.close(LEDGER)

    overview = overview_of(first, tmp_path / "b")
    page = body_of(render_overview(overview))

    assert "<title>System calls of box, other-box</title>" in page
    assert [row.values[0] for row in overview.results["syscalls"].rows] == [8, 8]
    assert overview.times is not None and sum(map(sum, overview.times.events.values())) == 16
    assert [row[2] for row in rows_of(page, "Where the events are from")] == ["box", "other-box"]


def test_page_says_what_was_traced(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r") as recorder:
        recorder.begin(head(command="make 'all\n" + "x" * 500))
        recorder.write(b"".join(calls(6)))
        recorder.close(LEDGER)

    page = render_overview(overview_of(tmp_path / "r"))

    told = f"make &#x27;all?{'x' * (256 - len('make .all?'))}"
    assert rows_of(page, "Where the events are from")[0][1] == told
    assert f'<p class="soft">{told}: 2026-09-21 14:13:20.000 UTC to' in page


def test_loss_is_told_by_event_and_the_sum_held_together(tmp_path: Path) -> None:
    lost = Figures(emitted=9, delivered=6, lost=3)
    ledger = Ledger(lost, {"openat": lost}, {1: lost}, gaps=3)

    page = render_overview(overview_of(write_recording(tmp_path / "r", calls(6), ledger=ledger)))

    assert "9 emitted = 6 delivered, 3 lost, 0 dropped, 0 undecodable: the sum adds up." in page
    assert rows_of(page, "By event, box") == [["openat", "9", "6", "3", "0", "0", "0"]]
    assert rows_of(page, "By CPU, box") == [["1", "9", "6", "3", "0", "0", "0"]]
    assert "<details open>" in page
    assert "<dt>lost</dt><dd>3</dd>" in page


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        (Figures(emitted=5, delivered=5), "the sum adds up."),
        (Figures(emitted=5, delivered=3), "the sum is 3: 2 are unaccounted for."),
        (Figures(emitted=5, delivered=6), "the sum is 6: 1 came from nowhere."),
    ],
)
def test_balance_says_whether_the_sum_adds_up(figures: Figures, verdict: str) -> None:
    assert balance(figures).endswith(f": {verdict}")


def test_page_of_nothing_has_no_figure(tmp_path: Path) -> None:
    page = render_overview(overview_of(write_recording(tmp_path / "r")))

    assert "The recording holds no events." in page
    assert len(page) < 20_000
    assert "script-src 'none'" in page


def test_page_is_bounded_whatever_the_number_of_keys_and_their_length(tmp_path: Path) -> None:
    paths = [b"/%06d/%s" % (number, b"x" * 3000) for number in range(12_000)]
    records = [timed(number, path=path) for number, path in enumerate(paths)]
    blocks = [records[start : start + 3000] for start in range(0, len(records), 3000)]
    overview = overview_of(write_recording(tmp_path / "r", *blocks))

    page = body_of(render_overview(overview))

    files = overview.results["files"]
    assert (len(files.rows), files.capped) == (21, 2000)
    assert sum(row.values[0] for row in files.rows if isinstance(row.values[0], int)) == 12_000
    assert len(page) < 60_000
    assert "2,000 came with keys beyond the first 10,000, all in other" in page


def test_result_of_many_rows_is_cut() -> None:
    rollup = Rollup.parse("many", by=["path"], measures=["count", "histogram(duration)"])
    rows = tuple(Row(None, (f"/{number}",), (1, {1: 2, 3: 4})) for number in range(ROWS_MAX + 1))

    page = body_of(render_results([Result(rollup, rows, events=len(rows), late=3)], title="t"))

    assert len(rows_of(page, "many by path")) == ROWS_MAX
    assert rows_of(page, "many by path")[0] == ["/0", "1", "▄ █ from 1 ns"]
    assert "The first 500 of 501 rows." in page and "3 events came too late" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<a href='x'>&\"", "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"),
        ("a\nb\x00\x7f", "a\\x0ab\\x00\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("y" * 5000, "y" * TEXT_MAX + "…"),
    ],
    ids=["markup", "controls", "direction", "surrogate", "long"],
)
def test_text_of_programs_stays_text(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1 µs"),
        (1_234_567, "1.23 ms"),
        (123_456_789, "123 ms"),
        (65 * 10**9, "65 s"),
    ],
)
def test_times_have_three_digits(time_ns: int, text: str) -> None:
    assert show_time(time_ns) == text


def test_units_fit_what_they_are_of() -> None:
    assert [show_bytes(size) for size in (0, 1023, 1024, 5 << 30, 1 << 60)] == [
        *("0 B", "1,023 B", "1 KiB", "5 GiB", "1,048,576 TiB")
    ]
    assert [time_unit(span)[1] for span in (1, 10**7, 10**10, 10**12, 10**15)] == ["µs", "ms", "s", "min", "h"]
    assert show_utc(EPOCH) == "2026-09-21 14:13:20.000 UTC"
    assert show_utc(2**200) == f"{2**200} ns since 1970"


def test_damaged_recording_gives_a_page_of_what_was_before_and_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_recording(tmp_path / "r", calls(20), calls(20, 20))
    path.write_bytes(path.read_bytes()[:-10])

    status = main(["report", "--html", str(tmp_path / "page"), str(path)])

    captured = capfd.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (1, "", 1)
    assert f"traceleft: {path}: is cut off within a block" in captured.err
    page = (tmp_path / "page").read_text()
    assert "is cut off within a block" in page and "holds no account" in page
    assert rows_of(page, "Where the events are from")[0][-1] == "40"


def test_sound_recordings_are_shown_beside_what_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_recording(tmp_path / "r", calls(20))
    (tmp_path / "none").write_text("no recording at all")

    status = main(["report", "--html", str(tmp_path / "page"), str(tmp_path / "none"), str(path)])

    assert status == 1
    assert capfd.readouterr().err.startswith(f"traceleft: {tmp_path / 'none'}: is not a recording")
    assert rows_of((tmp_path / "page").read_text(), "Where the events are from")[0][-1] == "20"


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--html", "/dev/full", "REC"], 1, "/dev/full: No space left on device"),
        (["--html", "absent/page", "REC"], 1, "absent/page: No such file or directory"),
        (["--html", "page", "NONE"], 1, "NONE: is not a recording: make one with: traceleft record -o FILE"),
        (["--html", "REC", "REC"], 2, "report: REC is the recording itself"),
        (["REC"], 2, "report: RECORDINGs are shown as a page: --html FILE"),
        (["--html", "page"], 2, "report: name RECORDINGs for --html, or --rollup and --data"),
        (
            ["--html", "page", "--engine", "duckdb", "REC"],
            2,
            "report: --engine applies to --rollup only, not to RECORDINGs",
        ),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    line: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recording(Path("REC"), [opened(1)])
    Path("NONE").write_text("text")

    assert main(["report", *arguments]) == status

    captured = capfd.readouterr()
    assert captured.err.startswith(f"traceleft: {line}")
    assert captured.err.count("\n") == 1
    assert not Path("page").exists()


def test_missing_plotly_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.delitem(sys.modules, "plotly.graph_objects", raising=False)
    path = write_recording(tmp_path / "r", calls(20))

    assert main(["report", "--html", str(tmp_path / "page"), str(path)]) == 1

    assert "plotly is missing; install it with: pip install 'traceleft[report]'" in capfd.readouterr().err
    assert not (tmp_path / "page").exists()


# What Ibis calls has another name by now.
@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_page_of_a_rollup_over_stored_events(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "r", calls(20))

    assert main(["report", "--rollup", "syscalls", "--data", str(path), "--html", str(tmp_path / "page")]) == 0

    rows = rows_of((tmp_path / "page").read_text(), "syscalls by event")
    assert [row[:2] for row in rows] == [["close", "10"], ["openat", "10"]]
