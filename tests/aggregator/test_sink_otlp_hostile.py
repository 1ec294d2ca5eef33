"""Collectors that mean harm: answers without end, bombs, bytes that trickle; and addresses that hold a password."""

import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from itertools import repeat
from pathlib import Path
from time import sleep

import pytest

from tests.aggregator.test_sink_otlp import LINE, collecting, send
from tests.cli.test_cli import traceleft
from tests.support.recordings import calls, write_recording
from traceleft.aggregator.sinks.urls import SinkUrl, open_sinks
from traceleft.errors import ExpressionError

OK = b"HTTP/1.1 200 OK\r\n"
PIECE = b"x" * (64 << 10)
BOMB = gzip.compress(bytes(256 << 20))
MEMORY_BYTES = 32 << 20
SENT_BYTES = 64 << 20
PASSWORD = "s3cr3t"


def trickle(data: bytes) -> Iterator[bytes]:
    for byte in data:
        sleep(0.3)
        yield bytes([byte])


ANSWERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless body": lambda: iter([OK + b"\r\n", *repeat(PIECE, 2000)]),
    "endless chunks": lambda: iter(
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", *repeat(b"10000\r\n" + PIECE + b"\r\n", 2000)]
    ),
    "bomb": lambda: iter([OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB]),
    "larger than it says": lambda: iter([OK + b"Content-Length: 10\r\n\r\n", *repeat(PIECE, 2000)]),
    "redirection without end": lambda: iter([b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", *repeat(PIECE, 2000)]),
    "error without end": lambda: iter([b"HTTP/1.1 400 Bad\r\n\r\n", *repeat(PIECE, 2000)]),
}
SILENT: dict[str, Callable[[], Iterator[bytes]]] = {
    "headers without end": lambda: iter([OK, *repeat(b"X-Y: " + PIECE[:1000] + b"\r\n", 100_000)]),
    "line without end": lambda: iter([OK, *repeat(PIECE, 2000)]),
    "status that trickles": lambda: trickle(OK * 100),
    "continues without end": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "no HTTP": lambda: repeat(bytes(1 << 16), 2000),
}


class Server:
    """Answers each connection with some bytes once a request has come, and counts what it could send."""

    def __init__(self, answer: Callable[[], Iterator[bytes]]) -> None:
        self.sent = 0
        self._answer = answer
        self._is_over = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self.url = f"otlp:http://127.0.0.1:{self._socket.getsockname()[1]}?timeout=2s"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            connection.recv(1 << 16)
            for data in self._answer():
                if self._is_over:
                    return
                connection.sendall(data)
                self.sent += len(data)

    def __enter__(self) -> "Server":
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over = True
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()


@contextmanager
def bounded_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ANSWERS)
def test_body_of_an_answer_is_not_taken(name: str) -> None:
    with Server(ANSWERS[name]) as server, bounded_memory():
        account = send(server.url, lambda sinks: sinks.events(LINE % 1))

    is_taken = name not in ("redirection without end", "error without end")
    assert (account["written"], account["dropped"]) == ((1, 0) if is_taken else (0, 1))
    assert server.sent < SENT_BYTES


def test_body_that_trickles_is_waited_for_no_longer_than_the_timeout() -> None:
    def answer() -> Iterator[bytes]:
        yield OK + b"Content-Length: 1000000\r\n\r\n"
        yield from trickle(bytes(1000))

    with Server(answer) as server:
        account = send(server.url, lambda sinks: sinks.events(LINE % 1), patience_s=60)

    assert (account["written"], account["dropped"]) == (1, 0)
    assert server.sent < 500


@pytest.mark.parametrize("name", SILENT)
def test_answer_that_never_comes_is_given_up(name: str) -> None:
    with Server(SILENT[name]) as server, bounded_memory():
        account = send(server.url, lambda sinks: sinks.events(LINE % 1), patience_s=3)

    assert (account["written"], account["dropped"]) == (0, 1)
    assert "no answer" in str(account["last_error"]) or "too long" in str(account["last_error"])


def test_sink_goes_on_after_an_answer_without_end() -> None:
    answers = iter([ANSWERS["endless body"]()])

    def answer() -> Iterator[bytes]:
        return next(answers, iter([OK + b"Content-Length: 0\r\n\r\n"]))

    with Server(answer) as server:
        account = send(server.url, lambda sinks: sinks.events(LINE % 1 * 600))

    assert (account["written"], account["dropped"]) == (600, 0)


def test_connection_is_used_again() -> None:
    seen: set[int] = set()
    with collecting() as collector:
        before = collector.server.process_request

        def process(request: socket.socket, address: tuple[str, int]) -> None:
            seen.add(address[1])
            before(request, address)

        collector.server.process_request = process  # type: ignore[method-assign, assignment]
        send(collector.url, lambda sinks: sinks.events(LINE % 1 * 1200))

    assert len(collector.requests) == 3
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("otlp:http://u:s3cr3t@h:1", "otlp:http://***@h:1"),
        ("otlp:https://u:s3c/r3t@x?y@h:1?timeout=5s", "otlp:https://***@h:1?timeout=5s"),
        ("otlp:u:s3cr3t@h:1", "otlp:***@h:1"),
        ("http://u:s3cr3t@h", "http://***@h"),
        ("otlp:http://h?token=s3cr3t&timeout=1s", "otlp:http://h?token=***&timeout=1s"),
        ("otlp:http://h?s3cr3t", "otlp:http://h?***"),
        ("ndjson:/a@b?rotate=1MiB", "ndjson:/a@b?rotate=1MiB"),
    ],
)
def test_what_is_secret_is_not_in_the_name_of_a_sink(text: str, name: str) -> None:
    try:
        shown = SinkUrl.parse(text).name
    except ExpressionError as exc:
        shown = str(exc)

    assert name in shown
    assert PASSWORD not in shown


SECRET_URLS = {
    "bad option": "otlp:http://u:s3cr3t@127.0.0.1:1?tiemout=s3cr3t",
    "query": "otlp:http://127.0.0.1:1/x?token=s3cr3t",
    "query before options": "otlp:http://127.0.0.1:1/x?token=s3cr3t?timeout=1s",
    "no scheme": "http://u:s3cr3t@127.0.0.1:1",
    "half a scheme": "otlp:u:s3cr3t@127.0.0.1:1",
    "password with a slash": "otlp:http://u:s3cr3t/@127.0.0.1:1",
    "port too large": "otlp:http://u:s3cr3t@127.0.0.1:99999",
    "nobody there": "otlp:http://u:s3cr3t@127.0.0.1:1?timeout=1s",
    "bad host": "otlp:http://u:s3cr3t@[::1:1",
    "no rows": "otlp:http://u:s3cr3t@127.0.0.1:1?take=events",
}


@pytest.mark.parametrize("name", SECRET_URLS)
def test_password_is_nowhere_in_what_is_printed(tmp_path: Path, name: str) -> None:
    write_recording(tmp_path / "rec", calls(4))
    url = SECRET_URLS[name]
    command = ["stat", "-i", "rec"] if name == "no rows" else ["replay", "rec"]

    done = traceleft(*command, "--sink", url, "--ledger", "ledger", cwd=tmp_path)

    written = (tmp_path / "ledger").read_text() if (tmp_path / "ledger").exists() else ""
    assert done.stderr
    assert PASSWORD not in done.stdout + done.stderr + written


def test_account_of_a_sink_with_a_password_names_its_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lines: list[str] = []
    url = f"otlp:http://u:{PASSWORD}@127.0.0.1:{port}?timeout=1s"

    with open_sinks([url], tell=lines.append) as sinks:
        sinks.start()
        sinks.events(LINE % 1)
        sinks.close(patience_s=1)
    account = sinks.account()

    assert [*account] == [f"otlp:http://***@127.0.0.1:{port}?timeout=1s"]
    assert PASSWORD not in json.dumps(account) + "".join(lines)


def test_user_and_password_reach_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    with collecting() as collector:
        handler = collector.server.RequestHandlerClass
        before = handler.do_POST  # type: ignore[attr-defined]

        def do_post(self: BaseHTTPRequestHandler) -> None:
            seen.append(self.headers["Authorization"])
            before(self)

        monkeypatch.setattr(handler, "do_POST", do_post)
        url = collector.url.replace("http://", "http://u:p@")
        with open_sinks([url]) as sinks:
            sinks.start()
            sinks.events(LINE % 1)

    assert seen == ["Basic dTpw"]
