"""The benchmarks' arithmetic and tables; nothing is measured here."""

from pathlib import Path

import pytest

from bench.costs import summarise
from bench.process import Usage, telling_line
from bench.report import BEGIN, END, check_page, render, replace_measured
from bench.session import Visit
from bench.table import Target, number, ratio, table
from bench.targets import find_targets
from bench.tools import FLOOR, OURS, PERF_SUMMARY, ROLLUP_KERNEL, Account, Place, bpftrace_script


def visit(*burst_ns: float, seen: int = 10, lost: int | None = 0) -> Visit:
    return Visit((100.0, 90.0), burst_ns, 10, Account(seen, lost, 0), Usage(1000, 5_000_000), 0.5)


def results_of(ours_ns: float, floor_ns: float) -> dict[str, object]:
    case = {"bare_ns": 90.0, "tools": {FLOOR.name: summarise([visit(floor_ns)], 90.0)}}
    case["tools"][OURS.name] = summarise([visit(ours_ns)], 90.0)  # type: ignore[index]
    part = {"date": "2026-11-22 12:00", "load": 0.5, "rounds": 1, "figures": {"read and write": case}}
    machine = {"kernel": "6.18", "cpus": 2, "processor": "P", "memory_bytes": 24_000_000_000}
    return {"machine": machine, "parts": {"cost": part}}


def test_cost_is_the_best_burst_less_the_untraced_one() -> None:
    figures = summarise([visit(400.0, 390.0), visit(500.0, 450.0)], 90.0)

    assert (figures["added_ns"], figures["median_ns"], figures["worst_ns"]) == (300.0, 330.0, 360.0)
    assert figures["consumer_ns"] == 100.0


def test_round_with_losses_does_not_count_where_others_lost_nothing() -> None:
    figures = summarise([visit(200.0, lost=5), visit(390.0)], 90.0)

    assert (figures["added_ns"], figures["rounds"], figures["lost"]) == (300.0, 1, 5)


def test_where_every_round_lost_the_figures_are_still_shown() -> None:
    assert summarise([visit(200.0, lost=5)], 90.0)["added_ns"] == 110.0


def test_what_a_tool_does_not_say_is_told_by_what_came_out() -> None:
    assert visit(1.0, seen=7, lost=None).lost == 3


def test_cost_is_shared_out_to_the_calls_that_were_asked_for() -> None:
    assert summarise([visit(100.0)], 90.0, scale=2.0)["added_ns"] == 20.0


def test_ratio_to_nothing_is_unknown() -> None:
    assert (ratio(3.0, 2.0), ratio(3.0, 0.0), ratio(None, 2.0)) == (1.5, None, None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0, "0"), (0.123, "0.12"), (0.0123, "0.012"), (12.34, "12.3"), (1234.5, "1,234"), (-5.0, "-5.00")],
)
def test_number_shows_the_digits_that_count(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_target_is_met_at_its_limit_and_unknown_without_a_figure() -> None:
    assert Target("t", 1.25, 1.25).is_met is True
    assert Target("t", 1.26, 1.25).is_met is False
    assert Target("t", 4.0, 5.0, is_least=True).is_met is False
    assert Target("t", None, 1.25).is_met is None


def test_targets_come_of_the_figures() -> None:
    targets = {target.text: target for target in find_targets(results_of(ours_ns=690.0, floor_ns=390.0)["parts"])}  # type: ignore[arg-type]

    assert targets["read and write, to the floor"].measured == 2.0
    assert targets["read and write, to the floor"].is_met is False
    assert targets["bystander, to the floor"].is_met is None


def test_table_is_markdown() -> None:
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| :-- | --: |\n| x | 1 |"


def test_report_shows_ratios_and_what_cannot_run() -> None:
    results = results_of(ours_ns=690.0, floor_ns=390.0)
    results["parts"]["cost"]["figures"]["read and write"]["tools"]["bcc"] = {"unavailable": "no kprobes | here"}  # type: ignore[index]
    text = render(results)

    assert "| traceleft, batches | 600 | 600 | 600 | 2.00 |" in text
    assert "not available: no kprobes \\| here |" in text
    assert {line.count("|") - line.count("\\|") for line in text.split("### ")[1].splitlines() if "|" in line} == {10}


def test_report_shows_what_a_rollup_costs() -> None:
    results = results_of(ours_ns=690.0, floor_ns=390.0)
    part = results["parts"]["cost"]  # type: ignore[index]
    case = {"bare_ns": 90.0, "tools": {ROLLUP_KERNEL.name: summarise([visit(190.0)], 90.0)}}
    results["parts"] = {"rollup": {**part, "figures": {"read and write": case}}}

    assert "| rollup in the kernel | 100 | 100 | 100 | 100 | 0 | 5.00 |" in render(results)


def test_summary_of_the_peer_is_added_up(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, tmp_path)
    rows = [
        "   read    20003      0   403.696     0.011     8.082",
        "   write      17     12   25.7     0.01     0.173",
    ]
    place.events.write_text("\n".join([" dd (20141), 80012 events, 100.0%", "", *rows, ""]))

    assert PERF_SUMMARY.account(place) == Account(20020)


def test_only_the_measured_part_of_a_page_is_replaced() -> None:
    page = f"# By hand\n\n{BEGIN}\nold\n{END}\n\nmore by hand\n"

    replaced = replace_measured(page, "new")

    assert replaced == f"# By hand\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore by hand\n"
    assert replace_measured(replaced, "new") == replaced
    with pytest.raises(ValueError, match="no place"):
        replace_measured("# By hand\n", "new")


def test_telling_line_is_the_reason_and_not_the_traceback() -> None:
    said = (
        "modprobe: FATAL: not found\nUnable to find kernel headers.\nTraceback (most recent call last):\nException: x"
    )

    assert telling_line(said) == "Unable to find kernel headers."
    assert telling_line("one\ntwo\n") == "two"
    assert telling_line("") == ""


def test_script_of_the_peer_names_the_process_and_the_events() -> None:
    script = bpftrace_script(7, ["openat"])

    assert "sys_enter_openat /pid == 7/" in script
    assert "raw_syscalls" in bpftrace_script(7, [])


def test_new_page_gets_its_marks_and_what_holds_them_stays(tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.md"
    check_page(page, BEGIN, END)
    page.write_text(f"by hand\n{page.read_text()}")
    check_page(page, BEGIN, END)

    assert page.read_text() == f"by hand\n{BEGIN}\n{END}\n"


def test_page_that_cannot_take_results_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("text\n")
    (tmp_path / "binary").write_bytes(b"\xff\n")

    for name, said in {
        "other.md": "lacks the line",
        "binary": "cannot be read and written",
        "": "is a directory",
    }.items():
        with pytest.raises(SystemExit, match=f"(?i)bench: .*{said}"):
            check_page(tmp_path / name, BEGIN, END)
    assert (tmp_path / "other.md").read_text() == "text\n"
