"""Write docs/project/support.md, which kernels a battery was seen to work on, from support.json there.

usage: python scripts/write_support.py [--battery PATH] [--check] [--docs DIR] [FILE...]

Each FILE (- is stdin) holds lines of `python -m traceleft.tracer.qualify`, which take the place of older rows of the
same kernel, level and hook. Each kernel image (vmlinuz*, bzImage*) below the directory that TRACELEFT_KERNELS names is
booted with the battery, and what is seen is added in the same way. --check writes nothing and exits 1 if the document
is not the one that the data make.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from traceleft.battery import Battery
from traceleft.battery.guest.kernel_image import find_images
from traceleft.battery.guest.qualify import TIMEOUT_S, Seen, qualify_kernel, read_seen
from traceleft.battery.level import LEVELS
from traceleft.battery.since import Kernel
from traceleft.battery.store import natural_key
from traceleft.errors import TraceleftError
from traceleft.linux import HOOKS

DOCS: Final = Path(__file__).resolve().parent.parent / "docs" / "project"
VARIABLE: Final = "TRACELEFT_KERNELS"
# In no package archive at hand: without evidence the floor check stands for them.
OLD_KERNELS: Final = ("4.4", "4.9", "4.14", "4.19", "5.4")
# What the document and its data keep of a line.
KEPT: Final = tuple(name for name in Seen.__struct_fields__ if name not in ("machine", "release", "objects"))
HEAD: Final = """\
# Kernels

Written by `scripts/write_support.py` from [support.json](support.json); do not edit.

Each row is a run of `python -m traceleft.tracer.qualify` on that kernel
([schema.md](../reference/schema.md), section 5): every object of the level loaded by itself, all that the kernel has
events for attached at once, a known workload traced and every value of its events compared. *Loaded* is of the objects
built for level and hook, *delivered* of the calls made. `make test-kernels` boots Debian's kernels; with
`TRACELEFT_KERNELS=DIR` it boots the kernel images in a directory. `traceleft battery qualify` tries a battery on one
image of your own, and `TRACELEFT_KERNELS=DIR scripts/write_support.py --battery PATH` tries it on all images in a
directory.

| kernel | level | hook | loaded | attached | delivered | date | |
|---|---|---|---|---|---|---|---|
"""


class Rows:
    """The matrix: what was seen last of each kernel, level and hook."""

    def __init__(self, seen: Iterable[Seen] = ()) -> None:
        self._rows = {_key(each): each for each in seen}

    def add(self, seen: Iterable[Seen]) -> None:
        """Let newer rows take the place of older ones; what a kernel's latest run does not have stays."""
        self._rows |= {_key(each): each for each in seen}

    def __iter__(self) -> Iterator[Seen]:
        return iter(sorted(self._rows.values(), key=_order))

    def to_json(self) -> str:
        """Return the data, a row a line."""
        rows = [json.dumps({name: getattr(row, name) for name in KEPT}) for row in self]
        return "[\n" + ",\n".join(rows) + "\n]\n"


def _key(seen: Seen) -> tuple[str, str, str]:
    return seen.kernel, seen.level, seen.hook


def _order(seen: Seen) -> tuple[object, ...]:
    hook = HOOKS.index(seen.hook) if seen.hook in HOOKS else len(HOOKS)
    return natural_key(seen.kernel), [-part for _, part, _ in natural_key(seen.level)], hook, seen.hook


def read_rows(text: str) -> Rows:
    """Read the data; TraceleftError for an invalid row."""
    # What is the same for all rows of the matrix, or of no account in it, is not kept.
    rest = {"machine": "x86_64", "release": "0", "objects": "sha256:" + "0" * 64}
    return Rows(read_seen(json.dumps(row | rest).encode()) for row in json.loads(text))


def read_lines(lines: Iterable[bytes]) -> Iterator[Seen]:
    """Read lines of the qualifying program; others are refused."""
    return (read_seen(line) for line in lines if line.strip())


def render(rows: Iterable[Seen]) -> str:
    """Return the document."""
    by_kernel = {kernel: list(group) for kernel, group in groupby(rows, key=lambda row: row.kernel)}
    lines = [(natural_key(kernel), [_show(row) for row in group]) for kernel, group in by_kernel.items()]
    for old in OLD_KERNELS:
        if not any(kernel == old or kernel.startswith((f"{old}.", f"{old}-")) for kernel in by_kernel):
            lines.append((natural_key(old), [_show_unseen(old)]))
    return (
        HEAD
        + "".join(line for _, group in sorted(lines, key=lambda item: item[0]) for line in group)
        + _foot(by_kernel)
    )


def _show(row: Seen) -> str:
    if row.status == "absent":
        return _row(row.kernel, row.level, row.hook, "-", "-", "-", row.date, f"not offered: {row.why}")
    remark = f"**failed**: {row.why}" if row.status == "failed" else row.why
    if row.left_out and not remark:
        remark = (
            f"without {len(row.left_out)} of the battery's events, which this kernel lacks or has in another format"
        )
    figures = (f"{row.loaded} of {row.built}", str(row.attached), f"{row.delivered} of {row.made}")
    return _row(row.kernel, row.level, row.hook, *figures, row.date, remark)


def _show_unseen(kernel: str) -> str:
    fitting = [level.name for level in LEVELS.values() if level.kernel <= Kernel.parse(kernel)]
    remark = "checked, not run: the floor of every object of these levels is at most this kernel"
    return _row(kernel, ", ".join(reversed(fitting)), "-", "-", "-", "-", "-", remark)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n".replace("|  |", "| |")


def _foot(by_kernel: dict[str, list[Seen]]) -> str:
    if not by_kernel:
        return "\nNo kernel has been tried yet.\n"
    failed = sum(row.status == "failed" for group in by_kernel.values() for row in group)
    tried = sum(row.status != "absent" for group in by_kernel.values() for row in group)
    return f"\n{len(by_kernel)} kernels, {tried} levels and hooks tried, {failed} failed.\n"


def qualify_directory(battery: Path, directory: Path) -> Iterator[Seen]:
    """Yield what is seen of a battery on each kernel of a directory."""
    opened = Battery.open(battery)
    for image in find_images(directory).values():
        print(f"write_support: {image}", file=sys.stderr)
        yield from qualify_kernel(opened, image, timeout_s=TIMEOUT_S)


def gather(chosen: Any) -> Iterator[Seen]:
    """Yield what the command line gives of new rows."""
    for name in chosen.files:
        with open(sys.stdin.fileno() if name == "-" else name, "rb", closefd=name != "-") as file:
            yield from read_lines(file)
    directory = os.environ.get(VARIABLE)
    if chosen.battery is not None and directory:
        yield from qualify_directory(chosen.battery, Path(directory))


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge, write, and tell what changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--battery", type=Path, metavar="PATH")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="DIR")
    parser.add_argument("files", nargs="*", metavar="FILE")
    chosen = parser.parse_args(arguments)
    data, document = chosen.docs / "support.json", chosen.docs / "support.md"
    try:
        rows = read_rows(data.read_text()) if data.exists() else Rows()
        if chosen.check:
            return _check(document, render(rows))
        rows.add(gather(chosen))
    except (TraceleftError, OSError, ValueError) as exc:
        print(f"write_support: {exc}", file=sys.stderr)
        return 1
    data.write_text(rows.to_json())
    document.write_text(render(rows))
    return 0


def _check(document: Path, text: str) -> int:
    if document.exists() and document.read_text() == text:
        return 0
    print(f"{document} is not what its data make: run scripts/write_support.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
