"""The values of a key, by group."""

from dataclasses import dataclass
from typing import TypeVar

import numpy
from numpy.typing import NDArray

from traceleft.aggregator.rollups.expression_tree import Expression
from traceleft.aggregator.rollups.parse import type_of
from traceleft.aggregator.rollups.parts import KeyValue
from traceleft.aggregator.streaming.batch_columns import Columns, Integers, Texts
from traceleft.aggregator.streaming.evaluate import integers_of, texts_of
from traceleft.aggregator.streaming.factorise import Int64s

T = TypeVar("T", bound=numpy.generic)


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One key of some events, and the columns of integers that tell its values apart."""

    found: Integers | Texts
    rows: Int64s | None
    columns: tuple[Int64s, ...]

    def values(self, rows: Int64s) -> list[KeyValue]:
        """Return the key's values in some of the rows."""
        rows = rows if self.rows is None else self.rows[rows]
        if isinstance(self.found, Texts):
            table = [*self.found.values, None]
            return [table[code] for code in self.found.codes[rows].tolist()]
        numbers = self.found.values[rows].tolist()
        if self.found.valid is None:
            return numbers  # type: ignore[no-any-return]
        return [number if there else None for number, there in zip(numbers, self.found.valid[rows], strict=True)]


def key_column(expression: Expression, columns: Columns, rows: Int64s | None) -> KeyColumn:
    if type_of(expression) == "text":
        texts = texts_of(expression, columns)
        codes = take(texts.codes, rows)
        return KeyColumn(texts, rows, () if (codes == codes[0]).all() else (codes,))
    integers = integers_of(expression, columns)
    values = take(integers.values, rows)
    if integers.valid is None:
        return KeyColumn(integers, rows, (values,))
    return KeyColumn(integers, rows, (values, take(integers.valid, rows).astype(numpy.int64)))


def take(values: NDArray[T], rows: Int64s | None) -> NDArray[T]:
    return values if rows is None else values[rows]
