"""A short run of the fuzz harness over all kinds, and the faults that it has to find; a long one: CONTRIBUTING.md."""

from pathlib import Path

import pytest

from tests.fuzz.harness import Limits, fuzz
from tests.fuzz.kinds import fuzzed_kinds

CASES = 60
FEWER = {"parquet": 15}


@pytest.mark.parametrize("kind", fuzzed_kinds())
def test_hostile_input_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    report = fuzz(kind, tmp_path, seed=1, count=FEWER.get(kind, CASES))

    assert report.findings == []
    assert report.cases == FEWER.get(kind, CASES)


@pytest.mark.parametrize(
    ("kind", "what", "limits"),
    [
        ("planted-traceback", "IndexError", Limits()),
        ("planted-crash", "crash", Limits()),
        ("planted-memory", "memory", Limits()),
        ("planted-computing", "hang", Limits(cpu_s=1)),
        # Enough for the cases before it on a busy machine.
        ("planted-waiting", "hang", Limits(wall_s=15)),
    ],
)
def test_fault_is_found_and_cases_go_on(kind: str, what: str, limits: Limits, tmp_path: Path) -> None:
    report = fuzz(kind, tmp_path, seed=1, count=4, limits=limits)

    assert [(finding.case, finding.what) for finding in report.findings] == [(2, what)]
    assert report.cases == 4
