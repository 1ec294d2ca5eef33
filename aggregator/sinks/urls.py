"""Sinks by their URLs, opened together, fed together, closed together.

``ndjson:PATH?rotate=100MiB&keep=10&every=1h&sync=rotate``, ``parquet:DIR?every=1m``, ``prometheus:127.0.0.1:9435``,
``otlp:http://127.0.0.1:4318?timeout=5s``; each with ``take=events,rows,alerts,ledger`` and ``queue=64MiB``.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from traceleft.aggregator.rollups.parse import parse_time
from traceleft.aggregator.sinks.fanout import Sinks
from traceleft.aggregator.sinks.sink import (
    KINDS,
    QUEUE_BYTES,
    Kind,
    Sink,
    SinkError,
    Target,
)
from traceleft.errors import ExpressionError, UnsupportedError
from traceleft.expression import suggest
from traceleft.terminal import HIDDEN

PORT: Final = 9435
LOOPBACK: Final = "127.0.0.1"
MAX_KEEP: Final = 10_000
# Options of the jemalloc that comes with pyarrow.
ALLOCATOR_CONFIG: Final = "JE_ARROW_MALLOC_CONF"
_COMMON: Final = ("take", "queue")
_SIZE: Final = re.compile(r"([0-9]{1,15})(|B|K|M|G|KB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_FACTORS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_USER: Final = re.compile(r"((?:otlp:)?(?:[a-z]{1,32}://)?).*@", re.DOTALL)
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A kind of sink: its options, what it can take, in which form events, and what opens it."""

    options: tuple[str, ...]
    takes: tuple[Kind, ...]
    batches: bool
    open: Callable[["SinkUrl", str], Target]


@dataclass(frozen=True, slots=True)
class SinkUrl:
    """A sink as it was written, in its parts; ``ExpressionError`` (exit 2) for an invalid one."""

    text: str
    scheme: str
    place: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> "SinkUrl":
        """Return the parts of a sink's URL, with its options checked."""
        scheme, colon, rest = text.partition(":")
        if not colon or scheme not in _SCHEMES:
            known = ", ".join(f"{name}:" for name in _SCHEMES)
            shown = hide_secrets(text)[:64]
            raise ExpressionError(f"invalid sink {shown!r}: must begin with one of {known}", expression=shown)
        place, question, query = rest.rpartition("?")
        if not question:
            place, query = rest, ""
        options: dict[str, str] = {}
        url = cls(text, scheme, place, options)
        known_options = (*_SCHEMES[scheme].options, *_COMMON)
        for pair in filter(None, query.split("&")):
            name, equals, value = pair.partition("=")
            if not equals:
                raise url.wrong(f"has an option that is not NAME=VALUE; known: {', '.join(known_options)}")
            if name not in known_options:
                hint = suggest(name, known_options) or f"; known: {', '.join(known_options)}"
                raise url.wrong(f"unknown option {name[:64]!r}{hint}")
            if name in options:
                raise url.wrong(f"the option {name} is given twice")
            options[name] = value
        if not place and scheme != "prometheus":
            raise url.wrong("says nothing after the colon; write where to")
        url.check()
        return url

    @property
    def name(self) -> str:
        """The sink as errors and accounts name it, without what is secret."""
        return hide_secrets(self.text)

    def check(self) -> None:
        """Read every option, and tell of the first that is wrong."""
        self.size("queue", QUEUE_BYTES)
        self.size("rotate", 0)
        self.number("keep", 0)
        for name in ("every", "timeout"):
            self.time_ns(name, _SECOND_NS)
        if self.options.get("sync", "rotate") not in ("never", "rotate", "always"):
            raise self.wrong("sync is one of never, rotate, always")
        if self.scheme == "prometheus":
            self.address()
        if self.scheme == "otlp" and not _is_web_address(self.place):
            raise self.wrong("must be an http:// or https:// address without a query")
        self.takes()

    def takes(self) -> frozenset[Kind]:
        """Return what goes to the sink."""
        able = _SCHEMES[self.scheme].takes
        if "take" not in self.options:
            return frozenset(kind for kind in able if kind != "ledger" or self.scheme != "ndjson")
        chosen = self.options["take"].split(",")
        for kind in chosen:
            if kind not in able:
                raise self.wrong(f"take={kind[:64]}: it takes {', '.join(able)}")
        return frozenset(kind for kind in able if kind in chosen)

    def size(self, name: str, default: int) -> int:
        """Return an option that is a size, in bytes."""
        if name not in self.options:
            return default
        found = _SIZE.fullmatch(self.options[name])
        if not found or not int(found[1]):
            raise self.wrong(f"{name}={self.options[name][:64]} is not a size: write one such as 100MiB")
        unit = found[2].replace("iB", "")
        return int(found[1]) * _FACTORS.get(unit, 1)

    def number(self, name: str, default: int) -> int:
        """Return an option that is a number."""
        text = self.options.get(name, str(default))
        if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > MAX_KEEP:
            raise self.wrong(f"{name}={text[:64]} must be a number from 0 to {MAX_KEEP}")
        return int(text)

    def time_ns(self, name: str, default: int) -> int:
        """Return an option that is a time, in nanoseconds: a second at least."""
        if name not in self.options:
            return default
        try:
            found = parse_time(self.options[name])
        except ExpressionError as exc:
            raise self.wrong(f"{name}: {exc}") from exc
        if found < _SECOND_NS:
            raise self.wrong(f"{name} is less than a second")
        return found

    def address(self) -> tuple[str, int]:
        """Return host and port; the loopback address where no host is given."""
        host, _, port = self.place.rpartition(":") if not self.place.isdecimal() else ("", "", self.place)
        if not port.isascii() or not (port.isdecimal() or not self.place) or len(port) > 5 or int(port or 0) > 65535:
            raise self.wrong("must be an address such as 127.0.0.1:9435")
        return host.strip("[]") or LOOPBACK, int(port) if port else PORT

    def wrong(self, message: str) -> ExpressionError:
        """Return the error for this URL."""
        return ExpressionError(f"sink {self.name[:200]}: {message}", expression=self.name[:64])


def hide_secrets(text: str) -> str:
    """Return a sink's URL, or what was to be one, without user, password, and values of options that there are not."""
    is_address = text.startswith("otlp:") or "://" in text
    if is_address:
        text = _USER.sub(rf"\1{HIDDEN}@", text)
    scheme = _SCHEMES.get(text.partition(":")[0])
    known = {*_COMMON, *(name for each in ([scheme] if scheme else _SCHEMES.values()) for name in each.options)}
    place, question, query = text.partition("?") if is_address else text.rpartition("?")
    shown = "".join(_hide_value(pair, known) for pair in re.split("([?&])", query))
    return f"{place}?{shown}" if question else text


def _hide_value(pair: str, known: Collection[str]) -> str:
    name, equals, _ = pair.partition("=")
    return pair if name in known or pair in ("", "?", "&") else f"{name}={HIDDEN}" if equals else HIDDEN


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        return False


def _open_ndjson(url: SinkUrl, host: str) -> Target:
    from traceleft.aggregator.sinks.ndjson import SYNCS, NdjsonTarget

    every_s = url.time_ns("every", 0) // _SECOND_NS
    sync = next(each for each in SYNCS if each == url.options.get("sync", "rotate"))
    target = NdjsonTarget(
        path=Path(url.place),
        rotate_bytes=url.size("rotate", 0) or None,
        every_s=every_s or None,
        keep=url.number("keep", 10),
        sync=sync,
    )
    target.open()
    return target


def _open_parquet(url: SinkUrl, host: str) -> Target:
    with _without_allocator_thread():
        from traceleft.aggregator.sinks.parquet_target import EVERY_S, ParquetTarget

    target = ParquetTarget(Path(url.place), host=host, every_s=url.time_ns("every", EVERY_S * _SECOND_NS) / _SECOND_NS)
    target.open()
    return target


@contextmanager
def _without_allocator_thread() -> Iterator[None]:
    """Import pyarrow without its allocator's thread, which blocks all signals and could not give up privileges."""
    before = os.environ.get(ALLOCATOR_CONFIG)
    os.environ[ALLOCATOR_CONFIG] = ",".join(filter(None, (before, "background_thread:false")))
    try:
        yield
    finally:
        # A traced command has our environment.
        if before is None:
            del os.environ[ALLOCATOR_CONFIG]
        else:
            os.environ[ALLOCATOR_CONFIG] = before


def _open_prometheus(url: SinkUrl, host: str) -> Target:
    from traceleft.aggregator.sinks.prometheus import PrometheusTarget

    target = PrometheusTarget(*url.address())
    target.open()
    return target


def _open_otlp(url: SinkUrl, host: str) -> Target:
    from traceleft.aggregator.sinks.otlp import TIMEOUT_S, OtlpTarget

    timeout_s = url.time_ns("timeout", int(TIMEOUT_S) * _SECOND_NS) / _SECOND_NS
    return OtlpTarget(url.place, host=host, timeout_s=timeout_s)


_SCHEMES: Final = {
    "ndjson": _Scheme(("rotate", "keep", "every", "sync"), KINDS, False, _open_ndjson),
    "parquet": _Scheme(("every",), ("events",), True, _open_parquet),
    "prometheus": _Scheme((), ("rows", "alerts", "ledger"), False, _open_prometheus),
    "otlp": _Scheme(("timeout",), KINDS, False, _open_otlp),
}
_EXTRAS: Final = {"pyarrow": "report"}


def open_sinks(
    urls: Iterable[str],
    *,
    host: str | None = None,
    waits: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> Sinks:
    """Open sinks by their URLs.

    ::

        with open_sinks(["ndjson:events.ndjson", "prometheus:9435"]) as sinks:
            tracer.write_json(sinks)
            tracer.start()
            sinks.start()
            tracer.run(duration_s=60)

    ``host`` is the name that sinks give this host, by default its own. ``waits`` and ``tell`` are as in ``Sink``.
    Raises ExpressionError for an invalid URL, UnsupportedError for a package that is missing, and SinkError for a sink
    that cannot be opened. No sink is left open then.
    """
    host = os.uname().nodename if host is None else host
    opened: list[tuple[Sink, bool]] = []
    try:
        for url in map(SinkUrl.parse, urls):
            if any(url.name == sink.name for sink, _ in opened):
                raise SinkError(f"sink {url.name} is given twice")
            sink = Sink(
                url.name,
                _open(url, host),
                takes=url.takes(),
                queue_bytes=url.size("queue", QUEUE_BYTES),
                waits=waits,
                tell=tell,
            )
            opened.append((sink, _SCHEMES[url.scheme].batches))
    except BaseException:
        for sink, _ in opened:
            sink.target.close()
        raise
    return Sinks(opened)


def _open(url: SinkUrl, host: str) -> Target:
    try:
        return _SCHEMES[url.scheme].open(url, host)
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        remedy = f"{name} is missing; install traceleft[{_EXTRAS.get(name, 'metrics')}]"
        raise UnsupportedError(f"sink {url.scheme}", remedy) from error
