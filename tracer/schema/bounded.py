"""Read values out of a JSON document that is not trusted: each as it should be, or ``BatteryError``."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from traceleft.battery.manifest import one_line
from traceleft.errors import BatteryError

MAX_ENTRIES: Final = 4096
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:+-]{0,127}")
IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

T = TypeVar("T")


def bad(place: str, message: str) -> BatteryError:
    return BatteryError(f"schema: {one_line(place)[:200]}: {one_line(message)[:200]}")


def read_mapping(value: object, place: str, *, limit: int = MAX_ENTRIES) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or len(value) > limit or not all(isinstance(key, str) for key in value):
        raise bad(place, f"must be an object of at most {limit} entries")
    return value


def read_list(value: object, place: str, *, limit: int) -> Sequence[Any]:
    if not isinstance(value, list | tuple) or len(value) > limit:
        raise bad(place, f"must be a list of at most {limit} entries")
    return value


def get(mapping: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in mapping:
        raise bad(place, f"has no {key!r}")
    return mapping[key]


def read_integer(value: object, place: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise bad(place, f"must be an integer from {low} to {high}")
    return value


def get_integer(mapping: Mapping[str, Any], key: str, place: str, low: int, high: int) -> int:
    return read_integer(get(mapping, key, place), f"{place}.{key}", low, high)


def read_text(value: object, place: str, limit: int = 256) -> str:
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise bad(place, "must be a short text")
    return value


def get_text(mapping: Mapping[str, Any], key: str, place: str) -> str:
    return read_text(get(mapping, key, place), f"{place}.{key}")


def read_name(value: object, place: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise bad(place, "is not a valid name")
    return value


def get_flag(mapping: Mapping[str, Any], key: str, place: str, *, default: bool | None = None) -> bool:
    value = mapping.get(key, default)
    if type(value) is not bool:
        raise bad(place, f"{key} is not true or false")
    return value


def read_choice(value: object, place: str, choices: Mapping[str, T]) -> T:
    if not isinstance(value, str) or value not in choices:
        raise bad(place, f"must be one of {', '.join(sorted(choices))}")
    return choices[value]


def get_width(mapping: Mapping[str, Any], place: str) -> int:
    width = mapping.get("width", 8)
    if type(width) is not int or width not in (1, 2, 4, 8):
        raise bad(place, "width must be 1, 2, 4 or 8")
    return width


def read_identifier(value: object, place: str) -> str:
    """Return the name of an argument or a member: what C and Python take for one."""
    if not isinstance(value, str) or not IDENTIFIER.fullmatch(value):
        raise bad(place, "is not an identifier")
    return value
