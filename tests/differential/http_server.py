"""A server on this machine that answers every request alike: no date, no version."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

ANSWER: Final = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer in one write, and late: a client that looks whether there is an answer never finds it at once."""
        time.sleep(0.1)
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[int]:
    """Answer HTTP at a port of 127.0.0.1, which is given."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
