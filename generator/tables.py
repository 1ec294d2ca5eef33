"""What the UAPI headers know, as data: sets, structs, error numbers, syscall numbers.

scripts/make_tables.py writes the files; docs/reference/schema.md says what SET and STRUCT are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, cast

from traceleft.errors import UnsupportedError

MACHINES: Final = ("x86_64",)

Entry = dict[str, Any]  # JSON's
Table = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class SyscallEntry:
    """A syscall's number, and its names: the kernel's, as in format files, and UAPI's."""

    number: int
    name: str
    uapi: str

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names that users know the call by."""
        return () if self.uapi == self.name else (self.uapi,)


def load_sets() -> Table:
    """Return every SET by name; nobody may change the entries."""
    return _load_tables()["sets"]


def load_structs() -> Table:
    """Return every STRUCT by name; nobody may change the entries."""
    return _load_tables()["structs"]


def load_errno() -> Mapping[str, str]:
    """Return the name of each error number, the key being the number in decimal."""
    return cast(Mapping[str, str], _load_tables()["errno"])  # the one table of plain strings


@cache
def load_syscalls(machine: str) -> Mapping[str, SyscallEntry]:
    """Return the syscalls of a machine by the kernel's name; UnsupportedError if there is no table for it."""
    if machine not in MACHINES:
        raise UnsupportedError(f"syscall numbers of {machine}", f"there are tables for {', '.join(MACHINES)} only")
    rows = _read(f"syscalls-{machine}.json")["syscalls"]
    return MappingProxyType({row["name"]: SyscallEntry(row["number"], row["name"], row["uapi"]) for row in rows})


@cache
def _load_tables() -> Mapping[str, Table]:
    return MappingProxyType({name: MappingProxyType(table) for name, table in _read("tables.json").items()})


def _read(name: str) -> Any:
    return json.loads(files("traceleft.generator").joinpath("data", name).read_bytes())
