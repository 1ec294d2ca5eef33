"""What the columns of events hold, of a batch of records by numpy; ``evaluate`` has the expressions over them.

Numbers are arrays with a mask of those that are there. Texts are factorised: a condition sees each distinct text once.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

import msgspec
import numpy
from numpy.typing import NDArray

from traceleft.aggregator.rollups.columns import BYTE_CALLS
from traceleft.aggregator.rollups.parse import INTEGERS
from traceleft.aggregator.streaming.factorise import Int64s, factorise
from traceleft.linux import MAX_ERROR
from traceleft.record_layout import DURATION, NO_RETURN, UNFINISHED
from traceleft.tracer.decode.batch import Batch, column_name
from traceleft.tracer.decode.texts import from_column, value_to_column
from traceleft.tracer.decode.value import Value
from traceleft.tracer.decode.values import AT_FDCWD, compile_scalar, error_name, show_comm
from traceleft.tracer.schema import unknown
from traceleft.tracer.schema.spec import ArgSpec, EventSpec, Tables

_HEADER: Final = frozenset({"pid", "tid", "uid", "gid", "cpu", "seq"})
_CONTAINER: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)

T = TypeVar("T")
Bools = NDArray[numpy.bool_]


@dataclass(frozen=True, slots=True)
class Integers:
    """A number for each event; ``valid`` tells which are there, None that all are. What is not there is 0."""

    values: Int64s
    valid: Bools | None = None


@dataclass(frozen=True, slots=True)
class Texts:
    """A text for each event: ``codes`` are places in ``values``, which are distinct, and -1 where there is none."""

    codes: Int64s
    values: Sequence[str]


class Columns(Protocol):
    """Events as columns, named as in ``traceleft.aggregator.rollups.columns``.

    Each has as many entries as there are events.
    """

    def __len__(self) -> int:
        """Return how many events there are."""
        ...

    def integers(self, name: str) -> Integers:
        """Return a column of numbers."""
        ...

    def texts(self, name: str) -> Texts:
        """Return a column of texts."""
        ...

    def arg(self, name: str) -> Texts:
        """Return an argument as text; none where an event has no argument of that name."""
        ...

    def arg_integers(self, name: str) -> Integers:
        """Return an argument as a number, as ``text_to_integer`` reads its text."""
        ...


class BatchColumns:
    """The columns of a batch of one event's records.

    ``cgroups`` gives the path of a cgroup by its id, ``stacks`` the folded stacks of a batch, None where there is none.
    """

    def __init__(
        self,
        batch: Batch,
        tables: Tables,
        *,
        host: str = "",
        cgroups: Callable[[int], str | None] | None = None,
        stacks: Callable[[Batch], Iterable[str | None]] | None = None,
    ) -> None:
        self._batch = batch
        self._spec = batch.spec
        self._tables = tables
        self._host = host
        self._cgroups = cgroups
        self._stacks = stacks
        self._array: NDArray[numpy.void] = batch.to_numpy()
        self._known: dict[tuple[str, str], Any] = {}

    def __len__(self) -> int:
        return len(self._batch)

    def integers(self, name: str) -> Integers:
        """Return a column of numbers."""
        return self._once("integers", name, self._integers)

    def texts(self, name: str) -> Texts:
        """Return a column of texts."""
        return self._once("texts", name, self._texts)

    def arg(self, name: str) -> Texts:
        """Return an argument as text."""
        return self._once("arg", name, self._arg)

    def arg_integers(self, name: str) -> Integers:
        """Return an argument as a number."""
        return self._once("arg_integers", name, self._arg_integers)

    def _once(self, kind: str, name: str, make: Callable[[str], T]) -> T:
        if (kind, name) not in self._known:
            self._known[kind, name] = make(name)
        found: T = self._known[kind, name]
        return found

    def _integers(self, name: str) -> Integers:
        if name in _HEADER:
            return Integers(self._array[name].astype(numpy.int64))
        match name:
            case "ts":
                return Integers(self._batch.timestamps())
            case "cgroup_id":
                return to_integers(self._array["cgroup_id"])
            case "ret":
                return _masked(self._array["ret"].astype(numpy.int64), self._has_returned())
            case "duration_ns":
                taken = to_integers(self._array["duration_ns"])
                return _masked(taken.values, _both(taken.valid, self._array["record_flags"] & DURATION != 0))
            case "bytes":
                returned = self.integers("ret")
                moved = _both(returned.valid, returned.values >= 0) & (self._spec.name in BYTE_CALLS)
                return _masked(returned.values, moved)
            case "fd":
                arg = first_arg(self._spec, "fd")
                return self.arg_integers(arg.name) if arg else self._no_integers()
            case "port":
                return self._of_address(port_of)
        raise KeyError(name)

    def _texts(self, name: str) -> Texts:
        match name:
            case "event" if self._spec.name == unknown.NAME:
                return factorise_texts([unknown.name_of(each) for each in self._array["number"].tolist()])
            case "event":
                return constant(self._spec.name, len(self))
            case "host":
                return constant(self._host, len(self))
            case "comm":
                return self._comm()
            case "error":
                return self._error()
            case "path" if self._batch.paths is not None:
                return factorise_texts(self._batch.paths)
            case "path":
                arg = first_arg(self._spec, "path")
                return self.arg(arg.name) if arg else self._no_texts()
            case "address":
                return factorise_texts([address_of(each) for each in self._addresses()])
            case "cgroup":
                return self._of_cgroup(lambda path: path)
            case "container":
                return self._of_cgroup(container_of)
            case "stack":
                return factorise_texts((self._stacks or Batch.stacks)(self._batch))
        raise KeyError(name)

    def _arg(self, name: str) -> Texts:
        if all(arg.name != name for arg in self._spec.args):
            return self._no_texts()
        values = self._batch.column(name)
        # Texts need not be looked at again, one by one.
        if not {*map(type, values)} <= {str, type(None)}:
            return factorise_texts([value_to_text(value) for value in values])
        return factorise_texts(values)  # type: ignore[arg-type]

    def _arg_integers(self, name: str) -> Integers:
        arg = next((arg for arg in self._spec.args if arg.name == name), None)
        if arg is None:
            return self._no_integers()
        plain = _plain_integers(arg, self._array[column_name(name)], self._tables)
        return texts_to_integers(self.arg(name)) if plain is None else plain

    def _has_returned(self) -> Bools:
        returned: Bools = self._array["record_flags"] & (NO_RETURN | UNFINISHED) == 0
        return returned

    def _comm(self) -> Texts:
        halves = numpy.ascontiguousarray(self._array["comm"]).view(numpy.int64).reshape(-1, 2)
        codes, rows = factorise([halves[:, 0], halves[:, 1]], len(self))
        return distinct(codes, [show_comm(comm) for comm in self._array["comm"][rows].tolist()])

    def _error(self) -> Texts:
        ret: Int64s = self._array["ret"].astype(numpy.int64)
        failed = (ret < 0) & (ret >= -MAX_ERROR) & self._has_returned()
        numbers = numpy.where(failed, -ret, 0)
        there = numpy.flatnonzero(numpy.bincount(numbers, minlength=1)[1:]) + 1
        table = numpy.full(MAX_ERROR + 1, -1, dtype=numpy.int64)
        table[there] = numpy.arange(len(there))
        return distinct(table[numbers], [self._tables.errno.get(each) or error_name(each) for each in there.tolist()])

    def _of_cgroup(self, read: Callable[[str], str | None]) -> Texts:
        ids = self._array["cgroup_id"].astype(numpy.int64)
        codes, rows = factorise([ids], len(self))
        paths = [self._cgroups(each) if self._cgroups else None for each in self._array["cgroup_id"][rows].tolist()]
        return distinct(codes, [None if path is None else read(path) for path in paths])

    def _addresses(self) -> Sequence[Value]:
        arg = first_arg(self._spec, "sockaddr", "msghdr")
        if arg is None:
            return [None] * len(self)
        values = self._once("column", arg.name, self._batch.column)
        return values if arg.value.kind == "sockaddr" else [_member(value, "name") for value in values]

    def _of_address(self, read: Callable[[Value], int | None]) -> Integers:
        found = [read(each) for each in self._addresses()]
        valid = numpy.array([each is not None for each in found], dtype=bool)
        return Integers(numpy.array([each or 0 for each in found], dtype=numpy.int64), valid)

    def _no_integers(self) -> Integers:
        return Integers(numpy.zeros(len(self), dtype=numpy.int64), numpy.zeros(len(self), dtype=bool))

    def _no_texts(self) -> Texts:
        return Texts(numpy.full(len(self), -1, dtype=numpy.int64), ())


def first_arg(spec: EventSpec, *kinds: str) -> ArgSpec | None:
    """Return an event's first argument of one of these kinds."""
    return next((arg for arg in spec.args if arg.value.kind in kinds), None)


def address_of(value: Value) -> str | None:
    """Return the address in a decoded socket address, or its path."""
    found = _member(value, "addr")
    found = _member(value, "path") if found is None else found
    return found if isinstance(found, str) else None


def port_of(value: Value) -> int | None:
    """Return the port in a decoded socket address."""
    found = _member(value, "port")
    return found if isinstance(found, int) else None


def container_of(path: str) -> str | None:
    """Return the id of the innermost container in the path of a cgroup."""
    found = _CONTAINER.findall(path)
    return found[-1] if found else None


def value_to_text(value: Value) -> str | None:
    """Return a decoded argument as text: a number in decimal, a list or an object as JSON."""
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else from_column(msgspec.json.encode(value_to_column(value)).decode())


def text_to_integer(text: str) -> int | None:
    """Return the number that a text is, None where it is not a number, or has more than 64 bits."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number in INTEGERS else None


@lru_cache(maxsize=64)
def _prefix_regex(components: int) -> re.Pattern[str]:
    return re.compile(rf"/*[^/]*(?:/+[^/]+){{0,{components - 1}}}")


def prefix(text: str, components: int) -> str:
    """Return the first components of a path."""
    found = _prefix_regex(components).match(text)
    return found[0] if found else ""


def to_integers(values: NDArray[Any]) -> Integers:
    """Return integers of any width; those beyond 2^63 - 1 are not there."""
    signed = values.astype(numpy.int64)
    if values.dtype.kind != "u" or values.dtype.itemsize < 8 or not (signed < 0).any():
        return Integers(signed)
    return _masked(signed, signed >= 0)


def texts_to_integers(texts: Texts) -> Integers:
    """Return the numbers that texts are."""
    numbers = [text_to_integer(text) for text in texts.values]
    values = numpy.array([*(number or 0 for number in numbers), 0], dtype=numpy.int64)
    valid = numpy.array([*(number is not None for number in numbers), False], dtype=bool)
    return Integers(values[texts.codes], valid[texts.codes])


def factorise_texts(values: Iterable[str | None]) -> Texts:
    """Return texts factorised, in the order in which they first come."""
    places: dict[str | None, int] = {None: -1}
    codes = [places.setdefault(value, len(places) - 1) for value in values]
    return Texts(numpy.array(codes, dtype=numpy.int64), [value for value in places if value is not None])


def constant(text: str, count: int) -> Texts:
    """Return the same text for every event."""
    return Texts(numpy.zeros(count, dtype=numpy.int64), [text])


def distinct(codes: Int64s, values: Sequence[str | None]) -> Texts:
    """Return texts whose values may be equal to each other, or not there, with distinct ones."""
    places: dict[str | None, int] = {None: -1}
    table = [places.setdefault(value, len(places) - 1) for value in values]
    kept = [value for value in places if value is not None]
    if table == list(range(len(table))):
        return Texts(codes, kept)
    # What is not there has the last place, as code -1 does.
    return Texts(numpy.array([*table, -1], dtype=numpy.int64)[codes], kept)


def _masked(values: Int64s, valid: Bools) -> Integers:
    return Integers(values) if valid.all() else Integers(numpy.where(valid, values, 0), valid)


def _both(left: Bools | None, right: Bools) -> Bools:
    return right if left is None else left & right


def _member(value: Value, name: str) -> Value:
    return value.get(name) if isinstance(value, dict) else None


def _plain_integers(arg: ArgSpec, values: NDArray[Any], tables: Tables) -> Integers | None:
    """Return a scalar argument that is shown as a number; None where its text decides."""
    value = arg.value
    if arg.slot is not None or value.cases is not None:
        return None
    match value.kind:
        case "fd" | "pid":
            return Integers(values.astype(numpy.int32).astype(numpy.int64))
        case "dirfd":
            numbers = values.astype(numpy.int32).astype(numpy.int64)
            return _masked(numbers, numbers != AT_FDCWD)
        case "uid":
            ones = values == ((1 << 8 * value.width) - 1)
            plain = to_integers(numpy.where(ones, 0, values).astype(values.dtype))
            return Integers(numpy.where(ones, -1, plain.values), plain.valid)
        case "int" | "mode" | "dev" if compile_scalar(value, tables) is None:
            return to_integers(values)
    return None
