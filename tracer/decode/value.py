"""What a decoded value is."""

from typing import Final, TypeAlias

Value: TypeAlias = "int | str | list[Value] | dict[str, Value] | None"
"""What an argument is decoded to: anything that JSON can carry."""
ABSENT: Final = str(b"ABSENT", "ascii")
"""What is read of an argument that the call does not have: this very object, which no text is. It is never shown."""
