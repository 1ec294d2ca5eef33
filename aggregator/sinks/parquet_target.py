"""The sink ``parquet``: events by host and day, in files that are complete every so often."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from traceleft.aggregator.sinks.sink import Item, LostError, SinkError
from traceleft.aggregator.stored.arrow_table import batch_to_table
from traceleft.aggregator.stored.parquet import ParquetWriter, reason_of, refuse_foreign
from traceleft.errors import FormatError
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.kernel.cgroups import CgroupPaths

EVERY_S: Final = 60


class ParquetTarget:
    """Writes batches of events below a directory; what was taken since files were last completed is ``pending``.

    Files are completed ``every_s`` seconds, and at the end. ``clock`` counts seconds.
    """

    def __init__(
        self, directory: Path, *, host: str, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._host = host
        self._every_s = every_s
        self._clock = clock
        self._cgroups = CgroupPaths()
        self._writer = ParquetWriter(directory)
        self._due = clock() + every_s
        self.pending = 0

    def open(self) -> None:
        """Make the directory now; SinkError where that cannot be, or where something else lies in it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            refuse_foreign(self._directory)
        except FormatError as error:
            raise SinkError(str(error)) from error
        except OSError as error:
            raise SinkError(f"{self._directory}: {(error.strerror or str(error)).lower()}") from error

    def write(self, item: Item) -> None:
        """Take a batch; LostError with what is gone where a file cannot be written."""
        assert isinstance(item.payload, Batch)
        # Before, not after: what is lost is then never the item itself, which is tried again.
        self.idle()
        batch = item.payload
        paths = self._cgroups.find({int(each) for each in batch.to_numpy()["cgroup_id"].tolist()})
        table = batch_to_table(batch, batch.tables, host=self._host, cgroups=paths.get)
        self._guard(lambda: self._writer.write(table))
        self.pending += item.records

    def idle(self) -> None:
        """Complete the files when their time has come."""
        if self.pending and self._clock() >= self._due:
            self.finish()

    def finish(self) -> None:
        """Complete the files: what was taken is then safe."""
        self._due = self._clock() + self._every_s
        self._guard(self._writer.flush)
        self.pending = 0

    def close(self) -> None:
        """Nothing is open once what was taken is complete, or lost."""

    def _guard(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            # pyarrow has errors of its own, not only OSError. Which rows were in files that could be completed is not
            # known: all that were pending count as lost.
            lost, self.pending = self.pending, 0
            with suppress(Exception):
                self._writer.close()
            raise LostError(lost, f"{self._directory}: {reason_of(error)}") from error
