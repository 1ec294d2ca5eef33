"""Write docs/project/commands.md, what the command line was seen to do on which kernel, from commands.json there.

usage: python scripts/write_commands.py [--check] [--docs DIR] [FILE...]

Each FILE holds lines of `python -m tests.vm.guest_commands`; they take the place of older rows of the same kernel.
--check writes nothing and exits 1 if the document is not the one that the data make.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from traceleft.battery.store import natural_key
from traceleft.linux import HOOKS

DOCS: Final = Path(__file__).resolve().parent.parent / "docs" / "project"
HEAD: Final = """\
# Commands, kernel by kernel

Written by `scripts/write_commands.py` from [commands.json](commands.json); do not edit.

`make test-kernels` runs each case (`tests/vm/command_cases.py`) inside each kernel, at each level and hook that the
kernel offers, with the JIT of BPF on and off. A number alone is a failure, which is
told below the table; a number in brackets is a note.
"""


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """A column: a level, a hook, and the state of the JIT."""

    level: str
    hook: str
    jit: str


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen of a case; the fields are those of a line, without how long the case took."""

    kernel: str
    date: str
    level: str
    hook: str
    jit: str
    case: str
    status: str
    why: str = ""

    @property
    def run(self) -> Run:
        """The column that it stands in."""
        return Run(self.level, self.hook, self.jit)


def read_rows(lines: Iterable[dict[str, Any]]) -> list[Row]:
    """Read rows; what a row does not keep is dropped."""
    names = Row.__dataclass_fields__
    return [Row(**{name: value for name, value in line.items() if name in names}) for line in lines]


def merge(old: list[Row], new: list[Row]) -> list[Row]:
    """Return the rows of all kernels, the oldest kernel first; a kernel's new rows take the place of its old ones."""
    fresh = {row.kernel for row in new}
    rows = [row for row in old if row.kernel not in fresh] + new
    return sorted(rows, key=lambda row: natural_key(row.kernel))


def to_json(rows: Iterable[Row]) -> str:
    """Return the data, a row a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"


def render(rows: Sequence[Row]) -> str:
    """Return the document."""
    kernels = list(dict.fromkeys(row.kernel for row in rows))
    return HEAD + "".join(_render_kernel([row for row in rows if row.kernel == kernel]) for kernel in kernels)


def _render_kernel(rows: Sequence[Row]) -> str:
    runs = sorted({row.run for row in rows}, key=_order)
    found = {(row.case, row.run): row for row in rows}
    notes: dict[str, int] = {}
    lines = [f"\n## {rows[0].kernel}\n\n"]
    lines.append(f"Run on {max(row.date for row in rows)}: {_summary(rows)}.\n\n")
    lines.append(_line("case", *(f"{run.level} {run.hook}{'' if run.jit == 'on' else ', no JIT'}" for run in runs)))
    lines.append(_line(*["---"] * (len(runs) + 1)))
    for case in dict.fromkeys(row.case for row in rows):
        cells = (_cell(found.get((case, run)), notes) for run in runs)
        lines.append(_line(case, *cells))
    lines += [f"\n{number}. {why}" for why, number in notes.items()]
    return "".join(lines) + ("\n" if notes else "")


def _summary(rows: Sequence[Row]) -> str:
    passed = sum(row.status == "ok" for row in rows)
    return f"{passed} of {len(rows)} passed"


def _cell(row: Row | None, notes: dict[str, int]) -> str:
    if row is None:
        return "-"
    if row.status == "ok" and not row.why:
        return "ok"
    number = notes.setdefault(row.why, len(notes) + 1)
    return f"ok ({number})" if row.status == "ok" else f"**{number}**"


def _order(run: Run) -> tuple[object, ...]:
    hook = HOOKS.index(run.hook) if run.hook in HOOKS else len(HOOKS)
    return [-part for _, part, _ in natural_key(run.level)], hook, run.jit != "on"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    data, document = chosen.docs / "commands.json", chosen.docs / "commands.md"
    rows = read_rows(json.loads(data.read_text())) if data.exists() else []
    for file in chosen.files:
        rows = merge(rows, read_rows(json.loads(line) for line in file.read_text().splitlines()))
    if not chosen.check:
        data.write_text(to_json(rows))
        document.write_text(render(rows))
    elif not document.exists() or document.read_text() != render(rows):
        print(f"{document} is not what its data make: run scripts/write_commands.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
