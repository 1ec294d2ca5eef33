"""What reading costs once records are in memory: one thread, real records, no kernel."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.process import Calls
from bench.tools import Place
from traceleft.battery import Battery
from traceleft.cli.output import Output, open_output
from traceleft.tracer import Tracer, _native
from traceleft.tracer.account.handout import Handout
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.event import Event
from traceleft.tracer.dispatch import Dispatcher
from traceleft.tracer.kernel.formats import select_running
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec, Tables

ROUNDS_OF_LOOP: Final = 100_000
"""Opens and closes that records are taken of."""
COLUMNS: Final = ("timestamp", "pid", "ret")


class Unread:
    """Stands where a dispatcher hands records out: nothing is accounted for."""

    def hand_out(self, records: _native.Records) -> Handout:
        """Begin to deliver."""
        return Handout(records)

    def settle(self, handout: Handout) -> None:
        """End it."""

    def look_ahead(self) -> None:
        """Nothing is to come."""


def capture(place: Place) -> tuple[bytes, Mapping[int, EventSpec]]:
    """Return records of opens and closes, end to end as the drain gives them, and their events by id."""
    battery = Battery.open(place.battery)
    batches: list[Batch] = []
    with Calls([str(place.programs / "calls")]) as calls:
        with Tracer(battery, events=["openat", "close"], pids=[calls.pid]) as tracer:
            tracer.on_batch("openat,close", batches.append)
            calls.run("openclose", ROUNDS_OF_LOOP)
            tracer.run(duration_s=0.2)
        specs = {spec.id: spec for spec in tracer.specs.values()}
    records = [batch.record(row) for batch in batches for row in range(len(batch))]
    return b"".join(record + bytes(-len(record) % 8) for record in records), specs


def tables_of(place: Place) -> Tables:
    """Return the names of values that the battery's release has."""
    battery = Battery.open(place.battery)
    return load_schema(battery.schema(select_running(battery).name)).tables


def measure_decoding(place: Place, rounds: int) -> dict[str, Any]:
    """Return, by way of reading, the most records a second that one core got through."""
    data, specs = capture(place)
    tables = tables_of(place)
    best = dict.fromkeys(WAYS, 0.0)
    with open_output(Path("/dev/null")) as nowhere:
        # The first round is not counted: it imports numpy.
        for number in range(rounds + 1):
            for name, register in WAYS.items():
                dispatcher = Dispatcher(specs, tables)
                register(dispatcher, [*specs.values()], nowhere)
                rate = _rate(dispatcher, data)
                best[name] = max(best[name], rate) if number else 0.0
    return {"records": len(_native.Records(data)), "bytes": len(data), "per_second": best}


def to_columns(batch: Batch) -> None:
    """Take columns as an analysis would: contiguous copies of a few."""
    array = batch.to_numpy()
    for name in COLUMNS:
        array[name].copy()


def touch(event: Event) -> None:
    """Look at what any callback looks at."""
    event.pid, event.ret  # noqa: B018


WAYS: Final[dict[str, Callable[[Dispatcher, list[EventSpec], Output], None]]] = {
    "numpy columns": lambda dispatcher, specs, output: dispatcher.on_batch(specs, to_columns),
    "batches, counted": lambda dispatcher, specs, output: dispatcher.on_batch(specs, len),
    "callback for each event, lazy": lambda dispatcher, specs, output: dispatcher.on(specs, touch),
    "callback for each event, arguments read": lambda dispatcher, specs, output: dispatcher.on(specs, Event.decoded),
    "JSON lines": lambda dispatcher, specs, output: dispatcher.write_json(output, raw=False),
    "JSON lines, made one by one": lambda dispatcher, specs, output: dispatcher.on(specs, to_json_line),
}


def _rate(dispatcher: Dispatcher, data: bytes) -> float:
    records = _native.Records(data)
    begun = time.perf_counter()
    dispatcher.dispatch(Unread(), records, len(records))
    return len(records) / (time.perf_counter() - begun)
