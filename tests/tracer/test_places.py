"""Functions, and the one that a place lies in."""

import pytest

from traceleft.tracer.stacks.places import ALIASES_MAX, PASSED_MAX, Place, Places, pack

NAMES = ["outer", "inner", "endless", "__long_alias", "alias", "last"]


def places(*functions: tuple[int, int, int], takes_last: bool = False) -> Places:
    return Places([pack(*each) for each in functions], NAMES.__getitem__, takes_last=takes_last)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (0x0F, None),
        (0x10, ("outer", 0)),
        (0x20, ("inner", 0)),
        # Behind what lies within, and still in what lies around it.
        (0x21, ("outer", 0x11)),
        (0x50, None),
        (0x60, ("endless", 0)),
        (0x6F, ("endless", 0xF)),
        (0x70, ("alias", 0)),
        (0x7F, ("alias", 0xF)),
        # One without a size ends where the next one begins.
        (0x80, None),
    ],
)
def test_innermost_function_is_found(place: int, found: Place | None) -> None:
    functions = places((0x10, 0x30, 0), (0x20, 1, 1), (0x60, 0, 2), (0x70, 0x10, 3), (0x70, 0x10, 4))

    assert functions.find(place) == found


def test_place_that_is_used_again_has_the_later_name() -> None:
    functions = ((0x10, 0x10, 0), (0x10, 0x10, 3))

    assert places(*functions).find(0x18) == ("outer", 8)
    assert places(*functions, takes_last=True).find(0x18) == ("__long_alias", 8)


def test_search_is_bounded() -> None:
    small = [(0x1000 + rank, 1, 1) for rank in range(PASSED_MAX + 1)]
    aliases = [(0x10, 1, 1)] * (ALIASES_MAX + 1)

    assert places((0, 0x10000, 0), *small).find(0x2000) is None
    assert places((0, 0x10000, 0), *small[1:-1]).find(0x2000) == ("outer", 0x2000)
    assert places(*aliases).find(0x10) == ("inner", 0)


def test_functions_may_be_none() -> None:
    assert places().find(0) is None
