"""The sink ``prometheus``: rollups, alerts and the ledger as metrics, served by HTTP, by default on loopback.

Times are seconds and sizes bytes, as Prometheus' names ask for. A rollup shows at most so many groups: what comes with
further keys is added up in the series labelled ``other="true"``.
"""

import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from traceleft.aggregator.rollups.parts import KeyValue
from traceleft.aggregator.rollups.rollup import Result, Rollup, Row
from traceleft.aggregator.sinks.metric import (
    FIGURES,
    OTHER,
    UNACCOUNTED,
    Figure,
    Metric,
    label_names,
    label_of,
    metric_of,
)
from traceleft.aggregator.sinks.sink import Item, SinkError
from traceleft.tracer.sandbox.privileges import block_signals

MAX_SERIES: Final = 2000
"""How many groups of one rollup are shown, ``other`` not among them."""
REQUEST_S: Final = 10
MAX_REQUESTS: Final = 16
_TAKEN_LABELS: Final = frozenset({"le", OTHER, "quantile"})

Labels = tuple[str, ...]


@dataclass(slots=True)
class Series:
    """The figures of one rollup by their labels, as they stand."""

    rollup: Rollup
    metrics: Mapping[str, Metric]
    groups: dict[Labels, list[Figure | None]] = field(default_factory=dict)
    window: tuple[int, int] | None = None

    @property
    def label_names(self) -> Labels:
        """The names of the labels: the keys', and ``other``."""
        names = label_names(self.rollup)
        return (*(f"key_{name}" if name in _TAKEN_LABELS else name for name in names), OTHER)

    def take(self, result: Result) -> None:
        """Add the rows of windows, or put those of the whole trace so far in place of the ones before."""
        if self.rollup.window_ns is None:
            self.groups = {}
        for row in result.rows:
            if row.window_ns != self.window:
                self._begin(row.window_ns)
            self._put(row)

    def _begin(self, window: tuple[int, int] | None) -> None:
        """Forget what is shown of an earlier window alone, and groups with nothing left."""
        self.window = window
        kept = [metric.adds for metric in self.metrics.values()]
        for values in self.groups.values():
            values[:] = [value if is_kept else None for is_kept, value in zip(kept, values, strict=True)]
        self.groups = {labels: values for labels, values in self.groups.items() if any(v is not None for v in values)}

    def _put(self, row: Row) -> None:
        labels = _labels(row.keys, len(self.rollup.by))
        is_folded = labels not in self.groups and len(self.groups) >= min(MAX_SERIES, self.rollup.max_keys)
        if is_folded:
            labels = _labels(None, len(self.rollup.by))
        values = self.groups.setdefault(labels, [None] * len(self.metrics))
        for place, (metric, value) in enumerate(zip(self.metrics.values(), row.values, strict=True)):
            if value is not None and metric.adds:
                values[place] = _add(values[place], value)
            elif value is not None and not is_folded:
                values[place] = value

    def families(self) -> Iterator[Any]:
        """Yield the metrics."""
        for place, (name, metric) in enumerate(self.metrics.items()):
            found = [(labels, value) for labels, values in self.groups.items() if (value := values[place]) is not None]
            if metric.type == "histogram":
                yield self._histogram(
                    name, metric, [(labels, each) for labels, each in found if isinstance(each, Mapping)]
                )
                continue
            make = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            family = make(name, metric.doc, labels=self.label_names)
            for labels, value in found:
                assert isinstance(value, int)
                family.add_metric(labels, metric.scale(value))
            yield family

    def _histogram(
        self, name: str, metric: Metric, found: list[tuple[Labels, Mapping[int, int]]]
    ) -> HistogramMetricFamily:
        """Return counts up to and with the largest value of each power of two, the same powers for all groups."""
        family = HistogramMetricFamily(name, metric.doc, labels=self.label_names)
        powers = {power for _, counts in found for power in counts}
        span = range(min(powers, default=0), max(powers, default=0) + 1)
        for labels, counts in found:
            seen, buckets = 0, []
            for power in span:
                seen += counts.get(power, 0)
                buckets.append((repr(float(metric.edge(power))), seen))
            family.add_metric(labels, [*buckets, ("+Inf", seen)], sum_value=None)
            # Without a sum the client leaves out the count as well.
            family.add_sample(f"{name}_count", dict(zip(self.label_names, labels, strict=True)), seen)
        return family


def _labels(keys: tuple[KeyValue, ...] | None, count: int) -> Labels:
    """Return the values of labels; an empty one is as good as none."""
    if keys is None:
        return (*[""] * count, "true" if count else "")
    return (*map(label_of, keys), "")


def _add(before: Figure | None, value: Figure) -> Figure:
    if before is None:
        return value
    if isinstance(before, int) and isinstance(value, int):
        return before + value
    assert isinstance(before, Mapping)
    assert isinstance(value, Mapping)
    return {power: before.get(power, 0) + value.get(power, 0) for power in sorted({*before, *value})}


class Metrics(Collector):
    """All that is shown; the sink's thread changes it and the server's threads read it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, Series] = {}
        self._names: set[str] = set()
        self._ledger: Mapping[str, object] = {}
        self._alerts: Counter[Labels] = Counter()
        self._suppressed: Counter[Labels] = Counter()

    def take(self, item: Item) -> None:
        """Take a rollup's rows, an alert or the ledger."""
        with self._lock:
            if isinstance(item.payload, Result):
                self._series_of(item.payload.rollup).take(item.payload)
            elif item.kind == "ledger" and isinstance(item.payload, Mapping):
                self._ledger = item.payload
            elif item.kind == "alerts" and isinstance(item.payload, Mapping):
                alert = item.payload
                self._alerts[str(alert["alert"]), str(alert["severity"])] += 1
                self._suppressed[(str(alert["alert"]),)] += int(str(alert["suppressed"]))

    def _series_of(self, rollup: Rollup) -> Series:
        if rollup.name not in self._series:
            metrics: dict[str, Metric] = {}
            for measure in rollup.measures:
                metric = metric_of(rollup, measure)
                name = "_".join(filter(None, ("traceleft", metric.title, metric.part, metric.unit)))
                while name in self._names:
                    name += "_"
                self._names.add(name)
                metrics[name] = metric
            self._series[rollup.name] = Series(rollup, metrics)
        return self._series[rollup.name]

    def collect(self) -> Iterator[Any]:
        """Yield what is shown, as it stands now."""
        with self._lock:
            families = [family for series in self._series.values() for family in series.families()]
            families += [*self._of_ledger(), *self._of_alerts()]
        yield from families

    def describe(self) -> list[Any]:
        """Tell nothing: what is shown is known when it is there."""
        return []

    def _of_ledger(self) -> Iterator[Any]:
        for name, doc in FIGURES.items():
            if (figure := self._ledger.get(name)) is not None:
                yield CounterMetricFamily(f"traceleft_events_{name}", doc, value=_number(figure))
        if (figure := self._ledger.get(UNACCOUNTED)) is not None:
            doc = "What the kernel's account and the reader's differ by"
            yield GaugeMetricFamily(f"traceleft_events_{UNACCOUNTED}", doc, value=_number(figure))

    def _of_alerts(self) -> Iterator[Any]:
        for name, doc, labels, counts in (
            ("traceleft_alerts", "Alerts of a rule", ("rule", "severity"), self._alerts),
            ("traceleft_alerts_suppressed", "Alerts that cooldown and limit held back", ("rule",), self._suppressed),
        ):
            family = CounterMetricFamily(name, doc, labels=labels)
            for values, count in sorted(counts.items()):
                family.add_metric(values, count)
            yield family


def _number(figure: object) -> float:
    return figure if isinstance(figure, int) else 0


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers a few clients at a time, each for a bounded time; others are turned away, as each takes a thread."""

    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a client in a thread of its own if there is room."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a client, and cut one off that takes too long in all: the timeout of sockets begins with each byte."""
        timer = threading.Timer(REQUEST_S, _cut_off, [request])
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._room.release()

    def server_bind(self) -> None:
        # HTTPServer's asks for the host's name, which may take long.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client went away."""


def _cut_off(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class PrometheusTarget:
    """Serves metrics at ``host``:``port`` (0: any free one; ``port`` tells which) from ``open`` on."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self.port = port
        self._metrics = Metrics()
        self._server: _Server | None = None

    def open(self) -> None:
        """Take the port, and begin to serve; SinkError where it cannot be had."""
        registry = prometheus_client.CollectorRegistry(auto_describe=False)
        registry.register(self._metrics)
        kind = _Server6 if ":" in self._host else _Server
        try:
            self._server = kind((self._host, self.port), _Handler)
        except (OSError, UnicodeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise SinkError(f"prometheus:{self._host}:{self.port}: {reason}; choose another port or address") from error
        self.port = self._server.server_port
        self._server.set_app(prometheus_client.make_wsgi_app(registry))
        threading.Thread(target=self._serve, args=(self._server,), name="prometheus", daemon=True).start()

    @staticmethod
    def _serve(server: WSGIServer) -> None:
        block_signals()
        server.serve_forever()

    @property
    def pending(self) -> int:
        """None: what was taken is shown."""
        return 0

    def write(self, item: Item) -> None:
        """Show it from now on."""
        self._metrics.take(item)

    def idle(self) -> None:
        """Nothing is to be done."""

    def finish(self) -> None:
        """Nothing is pending."""

    def close(self) -> None:
        """End the server."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
