"""The engines that rollups run on: DuckDB in this process, and Spark, on this machine or a fleet's own cluster."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import ibis

from traceleft.aggregator.rollups.columns import COLUMNS
from traceleft.aggregator.stored.parquet import DAY, Data
from traceleft.aggregator.stored.query import Engine
from traceleft.errors import TraceleftError, UnsupportedError

_IBIS_TYPES: Final = {"integer": "int64", "text": "string", "map": "map<string, string>"}
_SPARK_TYPES: Final = {"integer": "BIGINT", "text": "STRING", "map": "MAP<STRING, STRING>"}
_SITE: Final = ("SPARK_HOME", "SPARK_CONF_DIR", "SPARK_REMOTE", "PYSPARK_SUBMIT_ARGS")
"""Variables that say which Spark a site has: where one is set, its settings decide, not ours."""
_LOCAL: Final = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
}
_SESSION: Final = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
}
_JAVA: Final = "needs Java 17 or later: apt install openjdk-17-jre-headless, or say where it is in JAVA_HOME"
_ENGINES: Final = {"duckdb": "duckdb", "_duckdb": "duckdb", "pyspark": "spark", "py4j": "spark", "ibis": "ibis"}
"""Whose error it is, by the package that an exception comes from."""
_WAIT_S: Final = 30
MAX_SHOWN: Final = 500

T = TypeVar("T")


@contextmanager
def open_engine(name: str, data: Data | str, *, master: str | None = None) -> Iterator[Engine]:
    """Open ``duckdb`` or ``spark`` (at ``master``, see ``start_spark``) over events, and close it with all it kept."""
    if name == "spark":
        with start_spark(master) as session, open_spark(session, data) as engine:
            yield engine
    elif isinstance(data, Data):
        with open_duckdb(data) as embedded:
            yield embedded
    else:
        raise UnsupportedError(data, "DuckDB reads directories of this machine; use --engine spark")


class DuckEngine:
    """DuckDB over events; see ``open_duckdb``."""

    def __init__(self, connection: Any, data: Data) -> None:
        self._connection = connection
        self._numbers = count()
        files = [os.fspath(file) for file in data.files]
        # A host named 007 stays text.
        options = {"hive_partitioning": data.is_partitioned, "hive_types_autocast": False, "union_by_name": True}
        self.events = _complete(_run(lambda: connection.read_parquet(files, **options)), data)

    def keep(self, expression: Any) -> Any:
        """Run a query and keep what it gives as a temporary table."""
        name = f"kept_{next(self._numbers)}"
        return _run(lambda: self._connection.create_table(name, expression, temp=True))

    def rows(self, expression: Any) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        query = self._connection.compile(expression)
        rows: list[tuple[Any, ...]] = _run(lambda: self._connection.con.execute(query).fetchall())
        return rows


@contextmanager
def open_duckdb(data: Data, *, memory: str | None = None) -> Iterator[DuckEngine]:
    """Open DuckDB over a directory of events; ``memory`` bounds it (as ``4GB``), what is beyond goes to the disk."""
    import duckdb  # noqa: F401 - its absence is reported by its own name

    with TemporaryDirectory(prefix="traceleft-") as spill:
        options = {} if memory is None else {"memory_limit": memory}
        connection = ibis.duckdb.connect(temp_directory=spill, **options)
        try:
            yield DuckEngine(connection, data)
        finally:
            connection.disconnect()


class SparkEngine:
    """Spark over events; see ``open_spark``."""

    def __init__(self, session: Any, data: Data | str) -> None:
        self._session = session
        self._connection = ibis.pyspark.connect(session)
        for name, value in _SESSION.items():
            session.conf.set(name, value)
        self._kept: list[tuple[str, Any]] = []
        self.events = _complete(self._view(_run(lambda: _read(session, data))), data)

    def keep(self, expression: Any) -> Any:
        """Remember what a query gives, once that is first asked for."""
        return self._view(self._frame(expression).persist())

    def rows(self, expression: Any) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return [tuple(row) for row in _run(self._frame(expression).collect)]

    def _frame(self, expression: Any) -> Any:
        query = self._connection.compile(expression)
        return _run(lambda: self._session.sql(query))

    def _view(self, frame: Any) -> Any:
        name = f"kept_{len(self._kept)}"
        self._kept.append((name, frame))
        frame.createOrReplaceTempView(name)
        return self._connection.table(name)

    def close(self) -> None:
        """Give back what was kept; the session stays."""
        while self._kept:
            name, frame = self._kept.pop()
            self._session.catalog.dropTempView(name)
            frame.unpersist()


@contextmanager
def open_spark(session: Any, data: Data | str) -> Iterator[SparkEngine]:
    """Open a Spark session over events: of a directory, or of an address that Spark reads (``s3a://…``)."""
    engine = SparkEngine(session.newSession(), data)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def start_spark(master: str | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Start a Spark session and end it, and its process, at last.

    Which Spark, a site's variables say (``SPARK_HOME``, ``SPARK_CONF_DIR``, ``PYSPARK_SUBMIT_ARGS``) where they are
    set and ``master`` is not; else it is one on this machine, which listens on the loopback only.
    """
    from pyspark import SparkConf, SparkContext

    is_local = master.startswith("local") if master else not any(each in os.environ for each in _SITE)
    _find_java()
    with TemporaryDirectory(prefix="traceleft-spark-") as scratch:
        own = {**_LOCAL, "spark.local.dir": scratch, "spark.sql.warehouse.dir": scratch} if is_local else {}
        conf = SparkConf().setAll([*own.items(), *(settings or {}).items()]).setAppName("traceleft")
        if master or is_local:
            conf.setMaster(master or "local[*]")
        is_ours = SparkContext._gateway is None
        with _interrupts_kept():
            with _errors_to(Path(scratch) / "spark.log") if is_local else nullcontext():
                session = _run(lambda: _new_session(conf))
            try:
                yield session
            finally:
                session.stop()
                if is_ours:
                    _end_gateway()


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Put back what handles Ctrl-C at the end: a session's own handler, which cancels its jobs, outlives it."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)


def _new_session(conf: Any) -> Any:
    from pyspark.sql import SparkSession

    return SparkSession.builder.config(conf=conf).getOrCreate()


def _end_gateway() -> None:
    """End the Java process that a session leaves behind."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    SparkContext._gateway = SparkContext._jvm = None
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(timeout=_WAIT_S)


def _find_java() -> None:
    """See to it that Java is found; ``UnsupportedError`` where there is none."""
    home = os.environ.get("JAVA_HOME")
    if home is not None:
        if not os.access(Path(home) / "bin" / "java", os.X_OK):
            raise UnsupportedError("the engine spark", f"{_JAVA} (bin/java is missing in {home})")
        return
    if shutil.which("java") is None:
        found = sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
        if not found:
            raise UnsupportedError("the engine spark", _JAVA)
        os.environ["JAVA_HOME"] = os.fspath(found[-1].parent.parent)


@contextmanager
def _errors_to(path: Path) -> Iterator[None]:
    """Let what is started meanwhile write its errors to a file: Java's log is not for our stderr."""
    kept = os.dup(2)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.dup2(fd, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(fd)


def _read(session: Any, data: Data | str) -> Any:
    """Return the data frame of stored events; a partition's day is text, and known before files are opened."""
    columns = [f"{each.name} {_SPARK_TYPES[each.type]}" for each in COLUMNS]
    is_partitioned = not isinstance(data, Data) or data.is_partitioned
    if is_partitioned:
        columns.append(f"{DAY} STRING")
    reader = session.read.schema(", ".join(columns)).option("recursiveFileLookup", str(not is_partitioned).lower())
    if not isinstance(data, Data):
        return reader.parquet(data)
    return reader.parquet(*map(os.fspath, [data.path] if is_partitioned else data.files))


def _complete(table: Any, data: Data | str) -> Any:
    """Return a table with columns that no file has as nulls."""
    missing = [each for each in COLUMNS if each.name not in table.columns]
    return table.mutate(**{each.name: ibis.null(_IBIS_TYPES[each.type]) for each in missing})


def _run(run: Callable[[], T]) -> T:
    """Run something in an engine; what the engine refuses becomes one line."""
    try:
        return run()
    except Exception as error:
        engine = _ENGINES.get(type(error).__module__.split(".")[0])
        if engine is None:
            raise
        raise TraceleftError(f"{engine}: {_telling_line(str(error))}") from error


def _telling_line(text: str) -> str:
    """Return what of an engine's error tells: its first line, and the last cause of a Java error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return "; ".join([lines[0], *causes[-1:]])[:MAX_SHOWN]
