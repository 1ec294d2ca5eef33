"""Records that are looked at before their turn."""

from collections.abc import Iterator

import pytest

from tests.support.recordings import closed
from traceleft.tracer import _native
from traceleft.tracer.decode.ahead import AHEAD_MAX, Ahead


def some(count: int, *, error: Exception | None = None) -> Iterator[_native.Records]:
    for seq in range(count):
        yield _native.Records(closed(seq + 1))
    if error is not None:
        raise error


def test_what_was_looked_at_comes_in_its_turn() -> None:
    ahead = Ahead(some(5))
    first = next(ahead)
    seen = [ahead.look(), ahead.look()]

    assert [first.data, *(each.data for each in ahead)] == [each.data for each in some(5)]
    assert [each and each.data for each in seen] == [each.data for each in some(3)][1:]
    assert ahead.look() is None


def test_no_more_than_some_wait_for_their_turn() -> None:
    ahead = Ahead(some(2 * AHEAD_MAX))

    assert [ahead.look() is None for _ in range(AHEAD_MAX + 1)] == [*[False] * AHEAD_MAX, True]
    assert len(list(ahead)) == 2 * AHEAD_MAX


def test_error_comes_after_all_before_it() -> None:
    ahead = Ahead(some(2, error=OSError("damaged")))

    assert [ahead.look() is None for _ in range(4)] == [False, False, True, True]
    assert [len(next(ahead)), len(next(ahead))] == [1, 1]
    with pytest.raises(OSError, match="damaged"):
        next(ahead)
