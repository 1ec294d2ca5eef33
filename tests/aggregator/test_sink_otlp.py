"""The sink of OpenTelemetry: what a collector gets, and collectors that are slow, dead, or refuse."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.sinks.fanout import Sinks
from traceleft.aggregator.sinks.urls import open_sinks

S = 1_000_000_000
LINE = (
    b'{"ts":%d,"event":"openat","pid":7,"tid":8,"comm":"cat","uid":0,"gid":0,"cpu":1,"seq":1,"cgroup_id":25,'
    b'"args":{"filename":"/etc/shadow"},"ret":-13,"error":"EACCES","duration_ns":null}\n'
)


class Collector:
    """Keeps what it is sent; answers with the statuses that it is given, and then with 200."""

    def __init__(self, statuses: Iterator[int]) -> None:
        self.requests: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = next(statuses, 200)
                if status == 200:
                    collector.requests.append((self.path, body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"otlp:http://127.0.0.1:{self.server.server_port}"


@contextmanager
def collecting(*statuses: int) -> Iterator[Collector]:
    collector = Collector(iter(statuses))
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


def send(url: str, give: Callable[[Sinks], None], *, patience_s: float = 20) -> dict[str, object]:
    """Give something to a sink, close it, and return its account."""
    sinks = open_sinks([url], host="web-1")
    sinks.start()
    give(sinks)
    sinks.close(patience_s=patience_s)
    return sinks.account()[url]


def test_events_arrive_as_log_records() -> None:
    with collecting() as collector:
        account = send(collector.url, lambda sinks: sinks.events(b"".join(LINE % ts for ts in range(1, 1301))))

    logs = [ExportLogsServiceRequest.FromString(body) for path, body in collector.requests if path == "/v1/logs"]
    records = [log for request in logs for each in request.resource_logs[0].scope_logs for log in each.log_records]
    assert account["written"] == len(records) == 1300
    assert len(logs) == 3
    assert [record.time_unix_nano for record in records] == [*range(1, 1301)]
    first = records[0]
    attributes = {each.key: each.value for each in first.attributes}
    assert first.event_name == "openat"
    assert first.body.string_value.encode() + b"\n" == LINE % 1
    assert attributes["process.pid"].int_value == 7
    assert attributes["thread.id"].int_value == 8
    assert attributes["error.type"].string_value == "EACCES"
    resource = {each.key: each.value.string_value for each in logs[0].resource_logs[0].resource.attributes}
    assert resource["service.name"] == "traceleft"
    assert resource["host.name"] == "web-1"


def test_alert_arrives_with_its_keys_and_values() -> None:
    alert = {
        "ts": 5,
        "alert": "shadow",
        "severity": "critical",
        "keys": {"uid": 1000, "comm": None},
        "values": {"count": 21},
        "window_start": 1,
        "window_end": 6,
        "message": "21 by 1000",
        "suppressed": 2,
        "host": "web-1",
    }
    with collecting() as collector:
        account = send(collector.url, lambda sinks: sinks.alert(alert))

    assert account["written"] == 1
    ((path, body),) = collector.requests
    (record,) = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records
    attributes = {each.key: each.value for each in record.attributes}
    assert path == "/v1/logs"
    assert record.body.string_value == "21 by 1000"
    assert record.severity_text == "critical"
    assert record.severity_number == 21
    assert attributes["traceleft.alert"].string_value == "shadow"
    assert attributes["traceleft.key.uid"].int_value == 1000
    assert attributes["traceleft.value.count"].int_value == 21
    assert attributes["traceleft.window_start"].int_value == 1


def test_rows_arrive_as_metrics_of_their_windows() -> None:
    rollup = Rollup.parse(
        "opens",
        by=["comm", "pid"],
        measures=["count", "p99(duration_ns)", "histogram(duration_ns)", "sum(bytes)"],
        window="10s",
    )
    rows = (
        Row((0, 10 * S), ("cat", 7), (5, 2 * S, {0: 1, 2: 4}, None)),
        Row((0, 10 * S), None, (3, S, {}, 10)),
    )
    with collecting() as collector:
        account = send(collector.url, lambda sinks: sinks.rows(Result(rollup, rows)))

    assert account["written"] == 2
    ((path, body),) = collector.requests
    assert path == "/v1/metrics"
    found = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics
    metrics = {metric.name: metric for metric in found}
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "traceleft.opens.events": "1",
        "traceleft.opens.duration_p99": "s",
        "traceleft.opens.duration_histogram": "s",
        "traceleft.opens.bytes_sum": "By",
    }
    events = metrics["traceleft.opens.events"].sum
    assert events.is_monotonic
    assert events.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    point, other = events.data_points
    assert (point.start_time_unix_nano, point.time_unix_nano, point.as_int) == (0, 10 * S, 5)
    assert {each.key for each in point.attributes} == {"comm", "pid"}
    assert [(each.key, each.value.bool_value) for each in other.attributes] == [("other", True)]
    assert metrics["traceleft.opens.duration_p99"].gauge.data_points[0].as_double == 2.0
    histogram = metrics["traceleft.opens.duration_histogram"].histogram.data_points[0]
    assert [*histogram.bucket_counts] == [1, 0, 4, 0]
    assert [*histogram.explicit_bounds] == [0, 1e-9, 3e-9]
    assert histogram.count == 5


def test_ledger_arrives_as_sums() -> None:
    with collecting() as collector:
        send(collector.url, lambda sinks: sinks.ledger({"lost": 3, "unaccounted": 0}))

    found = (
        ExportMetricsServiceRequest.FromString(collector.requests[0][1]).resource_metrics[0].scope_metrics[0].metrics
    )
    assert [metric.name for metric in found] == ["traceleft.events.lost", "traceleft.events.unaccounted"]
    assert found[0].sum.data_points[0].as_int == 3
    assert found[1].gauge.data_points[0].as_int == 0


def test_server_that_fails_once_is_asked_again() -> None:
    with collecting(500) as collector:
        account = send(collector.url, lambda sinks: sinks.events(LINE % 1))

    assert (account["written"], account["dropped"]) == (1, 0)
    assert len(collector.requests) == 1


def test_server_that_refuses_is_not_asked_again() -> None:
    with collecting(400) as collector:
        account = send(collector.url, lambda sinks: sinks.events(LINE % 1))

    assert (account["written"], account["dropped"], account["retries"]) == (0, 1, 0)
    assert str(account["last_error"]).endswith("answered 400")
    assert collector.requests == []


def test_nobody_there_drops_all_within_a_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    account = send(f"otlp:http://127.0.0.1:{port}?timeout=1s", lambda sinks: sinks.events(LINE % 1), patience_s=0.5)

    assert (account["accepted"], account["written"], account["dropped"]) == (1, 0, 1)


def test_server_that_accepts_and_never_reads_delays_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"otlp:http://127.0.0.1:{server.getsockname()[1]}?timeout=1s&queue=1KiB"

        def give(sinks: Sinks) -> None:
            for ts in range(100):
                sinks.events(LINE % ts)

        account = send(url, give, patience_s=0.5)

    assert (account["accepted"], account["written"], account["dropped"]) == (100, 0, 100)


@pytest.mark.parametrize("secret", ["s3cret"])
def test_headers_come_from_the_variables_of_opentelemetry(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"x-token={secret}")
    seen: list[str | None] = []
    with collecting() as collector:
        handler = collector.server.RequestHandlerClass
        before = handler.do_POST  # type: ignore[attr-defined]

        def do_post(self: BaseHTTPRequestHandler) -> None:
            seen.append(self.headers["x-token"])
            before(self)

        monkeypatch.setattr(handler, "do_POST", do_post)
        send(collector.url, lambda sinks: sinks.events(LINE % 1))

    assert seen == [secret]
