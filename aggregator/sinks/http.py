"""Requests by HTTP whose answers are bounded in bytes and in time: a server may send without end, or a bomb, or a byte
every few seconds."""

import io
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

MAX_ANSWER_BYTES: Final = 64 << 10
TIMEOUT_S: Final = 10.0


class BoundedSession(requests.Session):
    """A session that takes the status and headers of answers, and throws their bodies away unread or undecoded.

    An answer that is not there within the request's timeout, all of it, is one that never came.
    """

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _BoundedAdapter())


class _BoundedAdapter(HTTPAdapter):
    """Shuts a connection down whose answer takes too long; used by one thread."""

    def __init__(self) -> None:
        self._twin: socket.socket | None = None
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Send a request and return its answer, without a body."""
        timeout = options.get("timeout")
        # The timeout of sockets begins anew with each byte.
        timer = threading.Timer(timeout if isinstance(timeout, int | float) else TIMEOUT_S, self._end)
        timer.daemon = True
        timer.start()
        try:
            response = super().send(request, *args, **{**options, "stream": True})
            if not _drain(response.raw):
                self._end()
        except BaseException:
            self._end()
            raise
        finally:
            timer.cancel()
        response.raw = io.BytesIO()
        return response

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        """Return the connections to a host, whose sockets are known from when they are made."""
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "watches"):
            pool.ConnectionCls = _watched(pool.ConnectionCls, self._keep)
        return pool

    def close(self) -> None:
        """End the connections."""
        super().close()
        self._end()

    def _keep(self, made: socket.socket) -> None:
        # What wraps it for TLS takes its descriptor away.
        self._end()
        self._twin = made.dup()

    def _end(self) -> None:
        """End the last connection, wherever it is read from."""
        twin, self._twin = self._twin, None
        if twin is not None:
            with suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)
            twin.close()


def _watched(kind: Any, watch: Callable[[socket.socket], None]) -> Any:
    """Return a kind of connection that gives away each socket as it is made."""

    def make(self: Any) -> socket.socket:
        made: socket.socket = kind._new_conn(self)
        watch(made)
        return made

    return type(kind.__name__, (kind,), {"_new_conn": make, "watches": True})


def _drain(raw: Any) -> bool:
    """Read an answer's body as it came; tell whether it has ended, so that the connection can be used again."""
    try:
        is_whole = len(raw.read(MAX_ANSWER_BYTES + 1, decode_content=False)) <= MAX_ANSWER_BYTES
    except (HTTPError, OSError):
        is_whole = False
    if is_whole:
        raw.release_conn()
    else:
        raw.close()
    return is_whole
