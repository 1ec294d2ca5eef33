"""The sink ``otlp``: events and alerts as OpenTelemetry logs, rollups and the ledger as its metrics, by OTLP over HTTP.

Headers, certificates and compression are taken from the variables that OpenTelemetry has for them
(``OTEL_EXPORTER_OTLP_HEADERS`` and so on).
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtelMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from traceleft.aggregator.rollups.rollup import Result, Row
from traceleft.aggregator.sinks.http import BoundedSession
from traceleft.aggregator.sinks.metric import FIGURES, OTHER, UNACCOUNTED, Metric, label_names, label_of, metric_of
from traceleft.aggregator.sinks.sink import Item, SinkError
from traceleft.terminal import hide_credentials
from traceleft.version import __version__

LOGS_A_REQUEST: Final = 512
TIMEOUT_S: Final = 5.0
_SCOPE: Final = InstrumentationScope("traceleft", __version__)
_SEVERITIES: Final = {
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_UNITS: Final = {"seconds": "s", "bytes": "By", "": "1"}
_TRY_AGAIN: Final = (408, 425, 429)
# What the exporters say of failures, the account says.
for _party in ("opentelemetry", "requests", "urllib3"):
    logging.getLogger(_party).addHandler(logging.NullHandler())
    logging.getLogger(_party).propagate = False


class _Event(msgspec.Struct):
    """What of an event's line becomes fields of a log record."""

    ts: int
    event: str
    pid: int
    tid: int
    uid: int
    comm: str
    error: str | None


_decode: Final = msgspec.json.Decoder(_Event).decode


class OtlpTarget:
    """Sends to the collector at ``endpoint``, such as ``http://127.0.0.1:4318``; a request may take ``timeout_s``."""

    def __init__(self, endpoint: str, *, host: str, timeout_s: float = TIMEOUT_S) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._shown = hide_credentials(self._endpoint)
        self._resource = Resource({"service.name": "traceleft", "service.version": __version__, "host.name": host})
        self._status: int | None = None
        self._begun_ns = time.time_ns()
        session = BoundedSession()
        session.hooks["response"].append(self._see)
        # A proxy does not lead to this machine.
        session.trust_env = not _is_loopback(self._endpoint)
        self._session = session
        self._logs = OTLPLogExporter(f"{self._endpoint}/v1/logs", timeout=timeout_s, session=session)
        self._metrics = OTLPMetricExporter(f"{self._endpoint}/v1/metrics", timeout=timeout_s, session=session)

    @property
    def pending(self) -> int:
        """None: what a request brought has arrived."""
        return 0

    def write(self, item: Item) -> None:
        """Send an item; of events, those that have arrived are taken off."""
        if isinstance(item.payload, Result):
            self._send_metrics([*metrics_of(item.payload, since_ns=self._begun_ns, now_ns=time.time_ns())])
        elif item.kind == "ledger" and isinstance(item.payload, Mapping):
            self._send_metrics([*ledger_metrics(item.payload, since_ns=self._begun_ns, now_ns=time.time_ns())])
        elif item.kind == "alerts" and isinstance(item.payload, Mapping):
            self._send_logs([alert_log(item.payload)])
        else:
            self._write_events(item)

    def idle(self) -> None:
        """Nothing is to be done."""

    def finish(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """End the connections."""
        self._session.close()

    def _write_events(self, item: Item) -> None:
        while lines := item.lines():
            *texts, rest = lines.split(b"\n", LOGS_A_REQUEST)
            self._send_logs([event_log(text) for text in texts])
            item.take_off(len(lines) - len(rest))

    def _send_logs(self, logs: Iterable[LogRecord]) -> None:
        batch = [ReadableLogRecord(log, self._resource, _SCOPE) for log in logs]
        self._status = None
        self._check(self._logs.export(batch) is LogRecordExportResult.SUCCESS)

    def _send_metrics(self, metrics: Sequence[OtelMetric]) -> None:
        scope = ScopeMetrics(_SCOPE, metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        self._status = None
        if metrics:
            self._check(self._metrics.export(data) is MetricExportResult.SUCCESS)

    def _see(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._status = response.status_code

    def _check(self, is_success: bool) -> None:
        """Raise what came of the last request; a redirection, which the exporters take for success, is not followed."""
        if not is_success or (self._status is not None and self._status >= 300):
            raise self._failure()

    def _failure(self) -> Exception:
        """Return what came of the last request: an answer that stays the same gives no reason to ask again."""
        if self._status is None:
            return OSError(f"no answer from {self._shown}")
        message = f"{self._shown} answered {self._status}"
        is_final = 300 <= self._status < 500 and self._status not in _TRY_AGAIN
        return SinkError(message) if is_final else OSError(message)


def event_log(line: bytes) -> LogRecord:
    """Return the log record of an event's line, which is its body."""
    event = _decode(line)
    attributes: dict[str, Any] = {
        "process.pid": event.pid,
        "thread.id": event.tid,
        "thread.name": event.comm,
        "process.user.id": event.uid,
    }
    if event.error is not None:
        attributes["error.type"] = event.error
    return LogRecord(
        timestamp=event.ts,
        observed_timestamp=event.ts,
        severity_text="info",
        severity_number=SeverityNumber.INFO,
        body=line.decode(),
        attributes=attributes,
        event_name=event.event,
    )


def alert_log(alert: Mapping[str, Any]) -> LogRecord:
    """Return the log record of an alert: its message, keys and values."""
    times = {name: alert[name] for name in ("window_start", "window_end") if alert[name] is not None}
    found = {f"traceleft.key.{name}": value for name, value in alert["keys"].items() if value is not None}
    found |= {f"traceleft.value.{name}": value for name, value in alert["values"].items() if value is not None}
    found |= {f"traceleft.{name}": value for name, value in times.items()}
    return LogRecord(
        timestamp=alert["ts"],
        observed_timestamp=alert["ts"],
        severity_text=alert["severity"],
        severity_number=_SEVERITIES[alert["severity"]],
        body=alert["message"],
        attributes={"traceleft.alert": alert["alert"], "traceleft.suppressed": alert["suppressed"], **found},
        event_name="traceleft.alert",
    )


def metrics_of(result: Result, *, since_ns: int, now_ns: int) -> Iterator[OtelMetric]:
    """Yield a rollup's measures; points of windows have the windows' times, others began at ``since_ns``."""
    rollup = result.rollup
    labels = label_names(rollup)
    rows = [*_timed(result.rows, since_ns, now_ns)]
    for place, measure in enumerate(rollup.measures):
        metric = metric_of(rollup, measure)
        found = [(_attributes(labels, row), *span, row.values[place]) for row, span in rows]
        name = f"traceleft.{metric.title}.{metric.word}"
        points = [point for each in found if (point := _point(metric, *each)) is not None]
        if points:
            is_delta = rollup.window_ns is not None
            yield OtelMetric(name, metric.doc, _UNITS[metric.unit], _data(metric, points, is_delta=is_delta))


def _timed(rows: Iterable[Row], since_ns: int, now_ns: int) -> Iterator[tuple[Row, tuple[int, int]]]:
    for window, group in groupby(rows, key=lambda row: row.window_ns):
        for row in group:
            yield row, window or (since_ns, now_ns)


def _attributes(labels: Sequence[str], row: Row) -> dict[str, Any]:
    if row.keys is None:
        return {OTHER: True} if labels else {}
    return {name: key if isinstance(key, int) else label_of(key) for name, key in zip(labels, row.keys, strict=True)}


def _point(metric: Metric, attributes: dict[str, Any], start_ns: int, end_ns: int, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return NumberDataPoint(attributes, start_ns, end_ns, metric.scale(value))
    powers = range(min(value, default=0), max(value, default=0) + 1)
    counts: list[int] = [*(value.get(power, 0) for power in powers), 0]
    bounds = [float(metric.edge(power)) for power in powers]
    unknown: Any = None
    return HistogramDataPoint(
        attributes, start_ns, end_ns, sum(counts), unknown, counts, bounds, min=unknown, max=unknown
    )


def _data(metric: Metric, points: list[Any], *, is_delta: bool) -> Any:
    temporality = AggregationTemporality.DELTA if is_delta else AggregationTemporality.CUMULATIVE
    if metric.type == "histogram":
        return Histogram(points, temporality)
    return Sum(points, temporality, is_monotonic=True) if metric.type == "counter" else Gauge(points)


def ledger_metrics(figures: Mapping[str, object], *, since_ns: int, now_ns: int) -> Iterator[OtelMetric]:
    """Yield the figures of the ledger."""
    for name, value in figures.items():
        if not isinstance(value, int) or name not in (*FIGURES, UNACCOUNTED):
            continue
        point = NumberDataPoint({}, since_ns, now_ns, value)
        cumulative = AggregationTemporality.CUMULATIVE
        data = Gauge([point]) if name == UNACCOUNTED else Sum([point], cumulative, is_monotonic=True)
        yield OtelMetric(f"traceleft.events.{name}", FIGURES.get(name, ""), "1", data)


def _is_loopback(endpoint: str) -> bool:
    name = urlsplit(endpoint).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
