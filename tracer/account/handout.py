"""Records on their way to who asked for them, and the account of what became of them."""

from dataclasses import dataclass, field
from typing import Protocol

from traceleft.tracer import _native


@dataclass(slots=True)
class Handout:
    """Records on their way out: how many are through, and (event, cpu) of those among them that were refused.

    An iteration is suspended between two of its events: then whoever takes it up first, the iteration itself or a
    thread that closes the tracer, goes on with it alone.
    """

    records: _native.Records
    done: int = 0
    refused: list[tuple[int, int]] = field(default_factory=list)
    is_settled: bool = False
    _token: list[None] = field(default_factory=list)

    def suspend(self) -> None:
        """Let anyone take it up."""
        self._token.append(None)

    def take_up(self) -> bool:
        """Tell whether it was suspended, and is the caller's now."""
        try:
            self._token.pop()
        except IndexError:
            return False
        return True


class Account(Protocol):
    """Who accounts for what is handed out: a reader, or who shows a recording."""

    def hand_out(self, records: _native.Records) -> Handout: ...
    def settle(self, handout: Handout) -> None: ...
    def look_ahead(self) -> _native.Records | None: ...


class RecordSink(Protocol):
    """Who keeps all records, and settles them with their account once they are kept."""

    def take(self, reader: Account, records: _native.Records, wanted: _native.Records) -> None:
        """Take the first of a batch of records, those that are ``wanted``."""
        ...
