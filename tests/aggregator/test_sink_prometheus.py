"""The sink of metrics: what is shown, by which names, types and units, and what bounds it."""

import socket
import threading
import urllib.request
from collections.abc import Iterator
from time import sleep

import pytest
from prometheus_client.parser import text_string_to_metric_families

from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.sinks import prometheus
from traceleft.aggregator.sinks.fanout import Sinks
from traceleft.aggregator.sinks.prometheus import PrometheusTarget
from traceleft.aggregator.sinks.sink import SinkError
from traceleft.aggregator.sinks.urls import open_sinks

WINDOWED = Rollup.parse(
    "slow-opens",
    by=["comm"],
    measures=["count", "errors", "sum(bytes) as moved", "p99(duration_ns)", "histogram(duration_ns)"],
    window="10s",
)
S = 1_000_000_000
ALERT = {"alert": "shadow", "severity": "warning", "suppressed": 3}


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    with open_sinks(["prometheus:127.0.0.1:0"]) as opened:
        opened.start()
        yield opened


def scrape(sinks: Sinks) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples by name and labels, as Prometheus' own parser reads them."""
    (sink,) = (sink for sink, _ in sinks._sinks)
    assert isinstance(sink.target, PrometheusTarget)
    while (account := sink.account()).accepted != account.written + account.dropped or sink._current or sink._queue:
        pass
    with urllib.request.urlopen(f"http://127.0.0.1:{sink.target.port}/metrics", timeout=120) as answer:
        families = [*text_string_to_metric_families(answer.read().decode())]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def labelled(name: str, comm: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted({"comm": comm, "other": "", **labels}.items()))


def test_windows_add_up_to_counters_and_others_are_of_the_last(sinks: Sinks) -> None:
    sinks.rows(
        Result(WINDOWED, (Row((0, 10 * S), ("cat",), (5, 1, 100, 2 * S, {1: 3, 31: 2})),)),
    )
    sinks.rows(
        Result(
            WINDOWED,
            (
                Row((10 * S, 20 * S), ("cat",), (7, 0, 11, 3 * S, {0: 1, 31: 6})),
                Row((10 * S, 20 * S), None, (2, 2, None, None, {})),
            ),
        )
    )

    found = scrape(sinks)

    assert found[labelled("traceleft_slow_opens_events_total", "cat")] == 12
    assert found[labelled("traceleft_slow_opens_events_total", "", other="true")] == 2
    assert found[labelled("traceleft_slow_opens_errors_total", "cat")] == 1
    assert found[labelled("traceleft_slow_opens_moved_bytes_total", "cat")] == 111
    assert found[labelled("traceleft_slow_opens_duration_p99_seconds", "cat")] == 3
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "traceleft_slow_opens_duration_histogram_seconds_bucket" and dict(labels)["comm"] == "cat"
    }
    assert len(buckets) == 33
    assert buckets["0.0"] == 1
    assert buckets["1e-09"] == 4
    assert buckets["2.147483647"] == buckets["+Inf"] == 12
    assert found[labelled("traceleft_slow_opens_duration_histogram_seconds_count", "cat")] == 12


def test_rows_of_a_whole_trace_take_the_place_of_the_ones_before(sinks: Sinks) -> None:
    rollup = Rollup.parse("all", by=["comm"], measures=["count"])
    sinks.rows(Result(rollup, (Row(None, ("cat",), (5,)), Row(None, ("ls",), (1,)))))
    sinks.rows(Result(rollup, (Row(None, ("cat",), (8,)), Row(None, None, (2,)))))

    found = scrape(sinks)

    assert found[labelled("traceleft_all_events_total", "cat")] == 8
    assert labelled("traceleft_all_events_total", "ls") not in found
    assert found[labelled("traceleft_all_events_total", "", other="true")] == 2


def test_windows_that_overlap_are_not_added_up(sinks: Sinks) -> None:
    rollup = Rollup.parse("sliding", measures=["count"], window="10s", slide="1s")
    sinks.rows(Result(rollup, (Row((0, 10 * S), (), (5,)),)))
    sinks.rows(Result(rollup, (Row((S, 11 * S), (), (6,)),)))

    assert scrape(sinks)["traceleft_sliding_events", (("other", ""),)] == 6


def test_series_are_bounded_and_the_rest_adds_up(sinks: Sinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_SERIES", 10)
    rollup = Rollup.parse("many", by=["pid"], measures=["count"], window="1s")
    for window in range(50):
        rows = tuple(Row((window * S, window * S + S), (10 * window + place,), (1,)) for place in range(10))
        sinks.rows(Result(rollup, rows))

    found = {labels: value for (name, labels), value in scrape(sinks).items() if name == "traceleft_many_events_total"}

    assert len(found) == 11
    assert sum(found.values()) == 500


def test_label_that_the_format_needs_itself_is_renamed(sinks: Sinks) -> None:
    rollup = Rollup.parse("x", by=["comm as le", "pid as other_"], measures=["count"])
    sinks.rows(Result(rollup, (Row(None, ('a"b\n\\', None), (1,)),)))

    ((name, labels),) = (each for each in scrape(sinks) if each[0].startswith("traceleft_x"))

    assert dict(labels) == {"key_le": 'a"b\n\\', "other_": "", "other": ""}
    assert name == "traceleft_x_events_total"


def test_ledger_and_alerts_are_shown(sinks: Sinks) -> None:
    sinks.ledger({"emitted": 10, "delivered": 7, "lost": 3, "unaccounted": -1})
    sinks.alert(ALERT)
    sinks.alert(ALERT)

    found = scrape(sinks)

    assert found["traceleft_events_emitted_total", ()] == 10
    assert found["traceleft_events_lost_total", ()] == 3
    assert found["traceleft_events_unaccounted", ()] == -1
    assert found["traceleft_alerts_total", (("rule", "shadow"), ("severity", "warning"))] == 2
    assert found["traceleft_alerts_suppressed_total", (("rule", "shadow"),)] == 6


def test_two_rollups_of_one_name_as_metrics_do_not_clash(sinks: Sinks) -> None:
    for name in ("a-b", "a_b"):
        sinks.rows(Result(Rollup.parse(name, measures=["count"]), (Row(None, (), (1,)),)))

    names = sorted(name for name, _ in scrape(sinks) if name.startswith("traceleft_a_b"))

    assert names == ["traceleft_a_b_events__total", "traceleft_a_b_events_total"]


def test_clients_that_never_end_are_few_and_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "REQUEST_S", 0.5)
    target = PrometheusTarget("127.0.0.1", 0)
    target.open()
    before = threading.active_count()
    try:
        clients = [socket.create_connection(("127.0.0.1", target.port), timeout=120) for _ in range(60)]
        most = 0
        for _ in range(200):
            most = max(most, threading.active_count())
            sleep(0.001)
        ends = [ended(client) for client in clients]
    finally:
        target.close()

    # Each takes a thread, and a timer another.
    assert 0 < most - before <= 2 * prometheus.MAX_REQUESTS
    assert all(ends)


def ended(client: socket.socket) -> bool:
    """Send a byte every now and then until the server has enough; tell whether that came."""
    with client:
        client.settimeout(0.05)
        for _ in range(1000):
            try:
                client.send(b"G")
                if not client.recv(1):
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
    return False


def test_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError) as caught:
            open_sinks([f"prometheus:127.0.0.1:{port}"])

    assert str(caught.value) == f"prometheus:127.0.0.1:{port}: address already in use; choose another port or address"


@pytest.mark.parametrize("host", ["..", "x" * 300])
def test_host_that_is_none_is_one_clear_error(host: str) -> None:
    with pytest.raises(SinkError, match="choose another port or address"):
        open_sinks([f"prometheus:{host}:0"])


def test_port_is_free_again_at_the_end() -> None:
    target = PrometheusTarget("127.0.0.1", 0)
    target.open()
    target.close()

    with socket.create_server(("127.0.0.1", target.port)) as again:
        assert again.getsockname()[1] == target.port
