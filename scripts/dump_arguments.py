#!/usr/bin/env python3
"""Write the arguments of every captured syscall as one small JSON document.

Usage: dump_arguments.py FORMATS OUTPUT, FORMATS being a directory of captures `<release>-<machine>/syscalls/…`.
The tests hold `generator/data/*.toml` against the document.
"""

import json
import re
import sys
from pathlib import Path

FIELD = re.compile(r"^\tfield:(?P<declaration>[^;]+);\toffset:(?P<offset>\d+);", re.MULTILINE)
NAME = re.compile(r"(?P<type>.*?)(?P<name>\w+)$")
FIRST_ARGUMENT_OFFSET = 16

Arguments = list[list[str]]


def read_arguments(text: str) -> Arguments:
    """Return [type, name] of each argument, in the order of their offsets."""
    fields = [
        (int(field["offset"]), field["declaration"])
        for field in FIELD.finditer(text)
        if int(field["offset"]) >= FIRST_ARGUMENT_OFFSET and not field["declaration"].startswith("__data_loc")
    ]
    matches = [NAME.fullmatch(declaration.strip()) for _, declaration in sorted(fields)]
    return [[match["type"].strip(), match["name"]] for match in matches if match]


def read_capture(directory: Path) -> dict[str, Arguments]:
    """Return the arguments of each syscall that a capture has a format for."""
    return {
        path.parent.name.removeprefix("sys_enter_"): read_arguments(path.read_text())
        for path in sorted(directory.glob("syscalls/sys_enter_*/format"))
    }


def main(formats: Path, output: Path) -> None:
    """Write the document: release → syscall → arguments."""
    captures = {
        directory.name.rpartition("-")[0]: read_capture(directory)
        for directory in sorted(formats.iterdir())
        if directory.is_dir()
    }
    releases = ",\n".join(
        f" {json.dumps(release)}: {{\n"
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(arguments)}" for name, arguments in sorted(syscalls.items()))
        + "\n }"
        for release, syscalls in captures.items()
    )
    output.write_text("{\n" + releases + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
