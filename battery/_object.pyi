from typing import Literal

def find_offences(data: bytes, role: Literal["core", "handler"], /) -> list[str]:
    """List what keeps an object from being loaded in a role: what it does that it may not, else the first damage."""
