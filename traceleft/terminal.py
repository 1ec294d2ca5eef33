"""Text that leaves for a terminal: all that commands print, except events, goes through here.

What a file name, a message of a library, or a traced program holds must neither move the cursor nor reorder the line
(ESC, C1, bidirectional controls, line separators), and a password must not be shown.
"""

import re
import sys
from typing import Final, TextIO

_BREAK: Final = re.compile(r"\s*[\r\n]\s*")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s/?#]*@")
HIDDEN: Final = "***"


def printable(text: str) -> str:
    r"""Return a text with what does not print escaped: ``\x1b``, ``\u202e``, a stray byte as ``\xff``."""
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return ascii(character)[1:-1]


def as_line(text: str) -> str:
    """Return a message as one line fit for a terminal, without what an address in it has before its host."""
    return printable(hide_credentials(_BREAK.sub(" ", text.strip())))


def hide_credentials(text: str) -> str:
    """Return a text with user and password of every address in it hidden."""
    return _CREDENTIALS.sub(f"{HIDDEN}@", text) if "://" in text else text


def say(text: str = "") -> None:
    """Print a line on stdout."""
    _write(sys.stdout, printable(text))


def say_lines(text: str) -> None:
    """Print lines on stdout."""
    for line in text.split("\n"):
        say(line)


def tell(text: str) -> None:
    """Print a line on stderr, as a command's own word about what it did."""
    _write(sys.stderr, as_line(text))


def notice(text: str) -> None:
    """Print a line on stderr that begins with our name."""
    tell(f"traceleft: {text}")


def _write(stream: TextIO | None, line: str) -> None:
    """Write a line in one piece: it may lie where the data goes as well. A stream that was closed takes nothing."""
    if stream is None:
        return
    try:
        stream.write(f"{line}\n")
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
