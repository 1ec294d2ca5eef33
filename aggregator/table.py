"""Events as Arrow tables of exactly ``columns.COLUMNS``: what is exported, kept in Parquet, and read by engines."""

from typing import Any, Final

import pyarrow

from traceleft.aggregator.columns import COLUMNS

_TYPES: Final = {
    "integer": pyarrow.int64(),
    "text": pyarrow.string(),
    "map": pyarrow.map_(pyarrow.string(), pyarrow.string()),
}
SCHEMA: Final[Any] = pyarrow.schema(
    pyarrow.field(column.name, _TYPES[column.type], nullable=column.is_optional) for column in COLUMNS
)
"""The columns as Arrow has them: every integer is signed and has 64 bits, ``ts`` included."""
