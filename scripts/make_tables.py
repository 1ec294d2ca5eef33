#!/usr/bin/env python3
"""Make generator/data/tables.json and syscalls-x86_64.json from UAPI headers.

Usage: make_tables.py HEADERS, HEADERS being the directory that scripts/fetch_uapi.sh filled.
Same headers, same bytes.
"""

import json
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from uapi_headers import Headers
from uapi_sets import make_errno, make_sets
from uapi_structs import DebugData, StructMaker

DATA: Final = Path(__file__).parents[1] / "generator" / "data"

# The kernel's names for what UAPI (and libc, and strace) spell otherwise.
KERNEL_NAMES: Final = {
    "_sysctl": "sysctl",
    "fstat": "newfstat",
    "lstat": "newlstat",
    "sendfile": "sendfile64",
    "stat": "newstat",
    "umount2": "umount",
    "uname": "newuname",
}


def make_syscalls(numbers: dict[str, int]) -> dict[str, Any]:
    """Return the table of numbers."""
    rows = [{"number": number, "name": KERNEL_NAMES.get(uapi, uapi), "uapi": uapi} for uapi, number in numbers.items()]
    return {"machine": "x86_64", "syscalls": sorted(rows, key=lambda row: int(str(row["number"])))}


def make_tables(headers: Headers) -> dict[str, Any]:
    """Return sets, structs and error numbers."""
    declared = tomllib.loads((DATA / "sets.toml").read_text())
    structs = tomllib.loads((DATA / "structs.toml").read_text())["structs"]
    with TemporaryDirectory() as directory:
        headers.compile(Path(directory) / "uapi.o")
        data = DebugData(Path(directory) / "uapi.o")
    names = sorted({*headers.macros(), *data.enumerators()})
    sets = make_sets(declared["sets"], headers, names, bitfields=data.bitfields)
    return {
        "errno": make_errno(declared["errno"], headers),
        "sets": sets,
        "structs": StructMaker(structs, sets, data).make(),
    }


def dump(document: dict[str, Any]) -> str:
    """Return JSON with a line for each entry of the second level, so that a difference can be read."""
    parts = []
    for key, value in sorted(document.items()):
        if isinstance(value, dict):
            lines = [f"  {json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in value.items()]
            parts.append(f" {json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n }")
        elif isinstance(value, list):
            parts.append(f" {json.dumps(key)}: [\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(root: Path) -> None:
    """Write both files."""
    headers = Headers(root)
    (DATA / "syscalls-x86_64.json").write_text(dump(make_syscalls(headers.syscalls())))
    (DATA / "tables.json").write_text(dump(make_tables(headers)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_tables.py HEADERS")
    main(Path(sys.argv[1]))
