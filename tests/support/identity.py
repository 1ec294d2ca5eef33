"""What `live_identity` is at each of its calls, which the records have to say."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

MARKS: Final = 1_000_000
EVENTS: Final = "getpgid"
FIRST: Final = "first"
SECOND: Final = "second and long"
# By mark: comm, uid, gid.
EXPECTED: Final = {
    1: (FIRST, 0, 0),
    2: (SECOND, 0, 0),
    3: (SECOND, 0, 0),
    4: (SECOND, 12345, 23456),
    5: (FIRST, 12345, 23456),
    6: (SECOND, 0, 0),
}
OF_CHILD: Final = {3, 4, 5}


def check_identity(lines: Iterable[Mapping[str, Any]], cgroup_ids: set[int]) -> None:
    """Assert that lines of JSON tell of each marked call who made it, and in which control group."""
    marks = {line["args"]["pid"] - MARKS: line for line in lines if line["error"]}
    found = {mark: (line["comm"], line["uid"], line["gid"]) for mark, line in marks.items()}
    parents = {line["pid"] for mark, line in marks.items() if mark not in OF_CHILD}
    children = {line["pid"] for mark, line in marks.items() if mark in OF_CHILD}

    assert found == EXPECTED
    assert len(parents) == len(children) == 1
    assert parents != children
    assert all(line["tid"] == line["pid"] for line in marks.values())
    assert {line["cgroup_id"] for line in marks.values()} == cgroup_ids
