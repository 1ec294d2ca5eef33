"""The table of what was compared."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.differential.rules import DROPPED, EXCUSED, SKIPPED
from tests.differential.traces import Outcome

OUTCOMES: Final = pytest.StashKey[list[Outcome]]()
DOCS: Final = Path(__file__).resolve().parents[2] / "docs" / "project" / "differential.md"
COLUMNS: Final = ("threads", "calls", "signals and ends", "values", "explained", "unexplained")

HEAD: Final = """# The same under strace

Written by the test: `TRACELEFT_WRITE_DOCS=1 .venv/bin/python -m pytest tests/differential` (as root).

Each program runs twice from the same state, under `strace -f -v` and under `traceleft trace -f --format json`. Calls
are paired thread by thread, in order; each pair's arguments, as many as strace shows, are compared by the kind that the
schema gives them, then result and error, and what the program printed and how it ended. Each thread's signals and its
end are paired likewise. Addresses are not randomised, so they must be equal as well; processes and threads are compared
by how they came to be. What may differ, and why, is in one table, `tests/differential/rules.py`; what it does not
explain fails the test. A program that debugs others is traced without them (no `-f`): a process has one debugger.

The hook `tracepoint` traces the calls that strace has shown (`-e`), `raw_tracepoint` all.
"""


def show_report(outcomes: Iterable[Outcome]) -> str:
    """Return the table of programs: what was compared, what differs and is explained, what is not."""
    rows = [f"| program | hook | {' | '.join(COLUMNS)} |", f"|---|---|{'--:|' * len(COLUMNS)}"]
    total = Counter[str]()
    for outcome in outcomes:
        counts = (
            outcome.threads,
            outcome.calls,
            outcome.told,
            outcome.values,
            sum(outcome.excused.values()),
            len(outcome.unexplained),
        )
        rows.append(f"| {outcome.program} | {outcome.hook} | {' | '.join(map(str, counts))} |")
        total.update(dict(zip(COLUMNS, counts, strict=True)))
    rows.append(f"| **all** | | {' | '.join(map(str, total.values()))} |")
    return "\n".join(rows)


def write_docs(outcomes: Sequence[Outcome]) -> None:
    """Write docs/project/differential.md."""
    used = {reason for outcome in outcomes for reason in outcome.excused}
    reasons = [f"- {rule.reason}: {_places(rule.places)}" for rule in EXCUSED if rule.reason in used]
    dropped = [f"- {rule.reason}: {_places(rule.places)}" for rule in DROPPED]
    skipped = [f"- {reason}: `{place}`" for place, (_, reason) in SKIPPED.items()]
    parts = [HEAD, show_report(outcomes), "", "## What may differ", "", *reasons, "", "## Calls left out", "", *dropped]
    parts += ["", "## Arguments that strace has no place for", "", *skipped, ""]
    DOCS.write_text("\n".join(parts))


def _places(places: Sequence[str]) -> str:
    return ", ".join(f"`{place}`" for place in places)
