"""Sinks: queues that are bounded, accounts that add up, retries, ends within a time; URLs."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.sinks.sink import Item, LostError, Retry, Sink, SinkError
from traceleft.aggregator.sinks.urls import SinkUrl, open_sinks
from traceleft.errors import ExpressionError

QUICK = Retry(first_s=0.001, longest_s=0.002, limit_s=5)
LINES = b'{"n":1}\n{"n":2}\n'


class FakeTarget:
    """Does what the test says with each write, and keeps what arrived."""

    def __init__(self, write: Callable[[Item], None] = lambda item: None) -> None:
        self.arrived: list[bytes] = []
        self.pending = 0
        self.is_closed = threading.Event()
        self._write = write

    def write(self, item: Item) -> None:
        self._write(item)
        self.arrived.append(item.lines())

    def idle(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed.set()


def failing(*errors: Exception | None) -> Callable[[Item], None]:
    """Return a write that fails so, one time after another, and works from then on."""
    left: Iterator[Exception | None] = iter(errors)

    def write(item: Item) -> None:
        error = next(left, None)
        if error is not None:
            raise error

    return write


def waiting(event: threading.Event) -> Callable[[Item], None]:
    """Return a write that waits, a minute at most."""

    def write(item: Item) -> None:
        event.wait(60)

    return write


def close(sink: Sink, *, patience_s: float = 5, limit_s: float = 30) -> None:
    sink.begin_close()
    sink.end_close(patience_s=patience_s, deadline=time.monotonic() + limit_s)


def test_all_that_was_accepted_is_written_in_its_order() -> None:
    target = FakeTarget()
    sink = Sink("fake", target)
    sink.start()

    for number in range(100):
        sink.offer(Item("events", b'{"n":%d}\n' % number, 1))
    close(sink)

    assert b"".join(target.arrived) == b"".join(b'{"n":%d}\n' % number for number in range(100))
    assert sink.account().to_json() == {
        "accepted": 100,
        "written": 100,
        "dropped": 0,
        "retries": 0,
        "last_error": None,
    }
    assert target.is_closed.is_set()


def test_full_queue_drops_at_once_and_the_account_adds_up() -> None:
    go = threading.Event()
    target = FakeTarget(waiting(go))
    sink = Sink("fake", target, queue_bytes=10 * len(LINES))
    sink.start()

    for _ in range(1000):
        sink.offer(Item("events", LINES, 2))
    held = sink.account()
    go.set()
    close(sink)

    account = sink.account()
    assert held.accepted == 2000
    # The queue and what the thread has in its hands, if it has begun.
    assert 2 * (1000 - 11) <= held.dropped <= 2 * (1000 - 10)
    assert account.accepted == account.written + account.dropped == 2000
    assert account.written == 2 * len(target.arrived)
    assert account.last_error == "its queue was full"


def test_what_failed_is_tried_again_until_it_works() -> None:
    target = FakeTarget(failing(OSError(111, "Connection refused"), OSError(28, "No space left on device")))
    sink = Sink("fake", target, retry=QUICK)
    sink.start()

    sink.offer(Item("events", LINES, 2))
    close(sink)

    account = sink.account()
    assert target.arrived == [LINES]
    assert (account.written, account.dropped) == (2, 0)
    assert account.retries == 2
    assert account.last_error == "no space left on device"


def test_what_is_refused_is_dropped_without_a_retry() -> None:
    target = FakeTarget(failing(SinkError("the server answered 400")))
    sink = Sink("fake", target, retry=QUICK)
    sink.start()

    sink.offer(Item("events", LINES, 2))
    sink.offer(Item("events", LINES, 2))
    close(sink)

    account = sink.account()
    assert (account.accepted, account.written, account.dropped, account.retries) == (4, 2, 2, 0)
    assert account.last_error == "the server answered 400"


def test_retries_end_after_their_time() -> None:
    target = FakeTarget(failing(*[OSError(5, "Input/output error")] * 1000))
    sink = Sink("fake", target, retry=Retry(first_s=0.001, longest_s=0.001, limit_s=0.02))
    sink.start()

    sink.offer(Item("events", LINES, 2))
    while not sink.account().dropped:
        time.sleep(0.001)
    close(sink)

    account = sink.account()
    assert (account.written, account.dropped) == (0, 2)
    assert account.retries >= 1


def test_an_error_that_nobody_thought_of_drops_and_goes_on() -> None:
    target = FakeTarget(failing(ZeroDivisionError("oh")))
    sink = Sink("fake", target, retry=QUICK)
    sink.start()

    sink.offer(Item("events", LINES, 2))
    sink.offer(Item("events", LINES, 2))
    close(sink)

    assert (sink.account().written, sink.account().dropped) == (2, 2)
    assert sink.account().last_error == "ZeroDivisionError: oh"


def test_pauses_grow_up_to_the_longest_and_differ_by_chance() -> None:
    retry = Retry(first_s=0.1, longest_s=5)

    for tries, most in ((1, 0.1), (2, 0.2), (4, 0.8), (10, 5), (10_000, 5)):
        pauses = {retry.pause_s(tries) for _ in range(20)}
        assert all(most / 2 <= pause <= most for pause in pauses)
        assert len(pauses) > 1


def test_closing_gives_up_a_target_that_is_stuck() -> None:
    stuck = threading.Event()
    target = FakeTarget(waiting(stuck))
    sink = Sink("fake", target)
    sink.start()
    for _ in range(5):
        sink.offer(Item("events", LINES, 2))

    before = time.monotonic()
    close(sink, patience_s=0.2)
    took_s = time.monotonic() - before
    stuck.set()

    # It may be late, but does not wait for the target's minute.
    assert took_s < 30
    account = sink.account()
    assert (account.accepted, account.written, account.dropped) == (10, 0, 10)
    assert account.last_error == "it took too long"
    assert target.is_closed.wait(30)
    assert sink.account() == account


def test_part_that_had_arrived_when_a_target_got_stuck_is_written() -> None:
    stuck, arrived = threading.Event(), threading.Event()

    def write(item: Item) -> None:
        item.take_off(len(LINES) // 2)
        arrived.set()
        stuck.wait(60)

    sink = Sink("fake", FakeTarget(write))
    sink.start()
    for _ in range(3):
        sink.offer(Item("events", LINES, 2))
    assert arrived.wait(30)

    close(sink, patience_s=0.1)
    stuck.set()

    account = sink.account()
    assert (account.accepted, account.written, account.dropped) == (6, 1, 5)


def test_what_is_queued_is_bounded_in_bytes_whatever_it_is() -> None:
    rollup = Rollup.parse("x", by=["path"], measures=["count"])
    rows = tuple(Row(None, ("/" + "x" * 4000,), (1,)) for _ in range(10))

    assert Item("rows", Result(rollup, rows), 10).size > 40_000
    assert Item("alerts", {"message": "x" * 1000}, 1).size > 1000
    assert Item("events", LINES, 2).size == len(LINES)


def test_closing_gives_up_a_target_that_keeps_failing() -> None:
    target = FakeTarget(failing(*[OSError(111, "Connection refused")] * 100_000))
    sink = Sink("fake", target)
    sink.start()
    for _ in range(5):
        sink.offer(Item("events", LINES, 2))

    close(sink, patience_s=0.2)

    account = sink.account()
    assert (account.accepted, account.written, account.dropped) == (10, 0, 10)
    assert account.last_error == "connection refused"


def test_what_was_taken_and_is_gone_counts_as_dropped() -> None:
    target = FakeTarget(failing(None, LostError(2, "the disk is full")))
    sink = Sink("fake", target, retry=QUICK)
    sink.start()

    sink.offer(Item("events", LINES, 2))
    sink.offer(Item("events", LINES, 2))
    close(sink)

    account = sink.account()
    assert (account.accepted, account.written, account.dropped) == (4, 2, 2)
    assert account.last_error == "the disk is full"


def test_offers_wait_where_nothing_is_to_be_dropped() -> None:
    target = FakeTarget(lambda item: time.sleep(0.001))
    sink = Sink("fake", target, queue_bytes=2 * len(LINES), waits=True)
    sink.start()

    for _ in range(50):
        sink.offer(Item("events", LINES, 2))
    close(sink)

    assert (sink.account().written, sink.account().dropped) == (100, 0)


def test_first_failure_is_told_once() -> None:
    told: list[str] = []
    target = FakeTarget(failing(OSError(111, "Connection refused"), OSError(111, "Connection refused")))
    sink = Sink("fake", target, retry=QUICK, tell=told.append)
    sink.start()

    sink.offer(Item("events", LINES, 2))
    close(sink)

    assert told == ["sink fake: connection refused"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "begin with one of ndjson:, parquet:, prometheus:, otlp:"),
        ("ftp:x", "begin with one of"),
        ("ndjson:", "write where to"),
        ("ndjson:x?rotat=1", "unknown option 'rotat'"),
        ("ndjson:x?rotate=many", "rotate=many is not a size: write one such as 100MiB"),
        ("ndjson:x?rotate=0", "is not a size"),
        ("ndjson:x?keep=-1", "keep=-1 must be a number"),
        ("ndjson:x?keep=1&keep=2", "given twice"),
        ("ndjson:x?every=1", "is not a time"),
        ("ndjson:x?every=1ms", "less than a second"),
        ("ndjson:x?sync=maybe", "sync is one of"),
        ("ndjson:x?take=all", "take=all: it takes events, rows, alerts, ledger"),
        ("parquet:x?take=rows", "take=rows: it takes events"),
        ("prometheus:localhost:99999", "must be an address"),
        ("prometheus:localhost:http", "must be an address"),
        ("otlp:127.0.0.1:4318", "must be an http:// or https:// address"),
        ("otlp:ftp://x", "must be an http://"),
        ("otlp:http://[x", "must be an http://"),
        ("otlp:http://x:99999", "must be an http://"),
    ],
)
def test_wrong_url_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=r".") as caught:
        SinkUrl.parse(text)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_address_is_loopback_unless_told_otherwise() -> None:
    found = {text: SinkUrl.parse(text).address() for text in ("prometheus:", "prometheus:9000", "prometheus::9000")}

    assert set(found.values()) == {("127.0.0.1", 9435), ("127.0.0.1", 9000)}
    assert SinkUrl.parse("prometheus:0.0.0.0:1").address() == ("0.0.0.0", 1)
    assert SinkUrl.parse("prometheus:[::1]:9435").address() == ("::1", 9435)


def test_path_may_hold_a_question_mark_before_the_options() -> None:
    url = SinkUrl.parse("ndjson:/tmp/a?b?rotate=1KiB")

    assert (url.place, url.size("rotate", 0)) == ("/tmp/a?b", 1024)


def test_sinks_take_what_they_are_told_to(tmp_path: Path) -> None:
    with open_sinks([f"ndjson:{tmp_path}/events", f"ndjson:{tmp_path}/alerts?take=alerts"]) as sinks:
        sinks.start()
        sinks.events(LINES)
        sinks.alert({"alert": "x"})
        sinks.ledger({"lost": 0})

    assert (tmp_path / "events").read_bytes() == LINES + b'{"alert":"x"}\n'
    assert (tmp_path / "alerts").read_bytes() == b'{"alert":"x"}\n'
    accounts = sinks.account()
    assert [account["written"] for account in accounts.values()] == [3, 1]


def test_one_that_cannot_be_opened_leaves_none_open(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="no such file or directory"):
        open_sinks([f"ndjson:{tmp_path}/good", f"ndjson:{tmp_path}/missing/x"])


def test_same_sink_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="is given twice"):
        open_sinks([f"ndjson:{tmp_path}/x", f"ndjson:{tmp_path}/x"])
