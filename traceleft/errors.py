"""The errors that traceleft raises on purpose.

::

    TraceleftError
    ├─ FormatError        a format file, configuration or snapshot that cannot be read (file, line)
    ├─ ExpressionError    an event expression that names nothing (expression)
    ├─ CompileError       clang refused a source (source, log)
    ├─ BatteryError       a battery that is missing, damaged or made for something else (path)
    ├─ UnsupportedError   the kernel or a privilege lacks something (feature)
    ├─ ProbeError         a program could not be loaded or attached (probe, log)
    │  └─ RefusedError    this kernel refuses the program itself; one of a lower level may do (probe, log)
    ├─ RecordingError     a recording that is damaged, cut, or none (file, offset, events_read)
    └─ CommandError       a command that cannot be started (command)

``str()`` of each is one line for the user that names the place and the remedy.
"""


class TraceleftError(Exception):
    """The base of every error that traceleft raises on purpose.

    ``str()`` is one line that names the place and the remedy. ``exit_code`` is the exit status of the command line.
    """

    exit_code = 1


class FormatError(TraceleftError):
    """A format file, configuration or snapshot cannot be read. ``file`` and ``line`` name the place."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        self.file = file
        self.line = line
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class ExpressionError(TraceleftError):
    """An event expression or filter is malformed, or matches nothing. ``expression`` is its text."""

    exit_code = 2

    def __init__(self, message: str, *, expression: str) -> None:
        self.expression = expression
        super().__init__(message)


class CompileError(TraceleftError):
    """Clang refused a source. ``source`` is its name, and ``log`` holds all that clang printed."""

    def __init__(self, message: str, *, source: str, log: str) -> None:
        self.source = source
        self.log = log
        super().__init__(message)


class BatteryError(TraceleftError):
    """A battery is missing, damaged, or made for something else. ``path`` is where it lies."""

    def __init__(self, message: str, *, path: str | None = None) -> None:
        self.path = path
        super().__init__(f"{path}: {message}" if path else message)


class UnsupportedError(TraceleftError):
    """The kernel, the machine, a privilege or a library lacks something.

    ``feature`` names what is lacking, and ``remedy`` says what to do.
    """

    def __init__(self, feature: str, remedy: str) -> None:
        self.feature = feature
        self.remedy = remedy
        super().__init__(f"{feature}: {remedy}")


class ProbeError(TraceleftError):
    """A program could not be loaded or attached. ``probe`` names it, and ``log`` holds the words of the verifier."""

    def __init__(self, message: str, *, probe: str, log: str = "") -> None:
        self.probe = probe
        self.log = log
        super().__init__(f"{probe}: {message}")


class RefusedError(ProbeError):
    """The kernel refused a program for what it does or where it goes, not for a lack of memory or privileges."""


class RecordingError(TraceleftError):
    """A recording is damaged, cut off, or not a recording.

    ``file`` and ``offset`` (bytes, or None) name the place, and ``reason`` is the message without them. ``events_read``
    events came before the place (None: not counted).
    """

    def __init__(self, reason: str, *, file: str, offset: int | None = None, events_read: int | None = None) -> None:
        self.reason = reason
        self.file = file
        self.offset = offset
        self.events_read = events_read
        place = "" if offset is None else f" (byte {offset:,})"
        before = "" if events_read is None else f"; the {events_read:,} events before were read"
        super().__init__(f"{file}: {reason}{place}{before}")


class CommandError(TraceleftError):
    """A command cannot be found or executed. ``command`` is its name."""

    def __init__(self, message: str, *, command: str) -> None:
        self.command = command
        super().__init__(f"{command}: {message}")
