"""Control flow: whether a function can come back to where it was, and what of it is never reached."""

from collections.abc import Mapping
from typing import Final

ON_PATH, DONE = 1, 2
START: Final = 0


def has_loop(successors: Mapping[int, tuple[int, ...]]) -> bool:
    """Tell whether a walk from place 0 can come back to a place on its path.

    A jump back that closes no circle does not count. Raises ValueError for a step to a place that is not there.
    """
    if any(each not in successors for following in successors.values() for each in following):
        raise ValueError("an instruction leads out of its function")
    if not any(each <= place for place, following in successors.items() for each in following):
        return False
    state: dict[int, int] = {START: ON_PATH}
    path = [(START, iter(successors.get(START, ())))]
    while path:
        place, left = path[-1]
        following = next(left, None)
        if following is None:
            state[place] = DONE
            path.pop()
        elif following not in state:
            state[following] = ON_PATH
            path.append((following, iter(successors[following])))
        elif state[following] == ON_PATH:
            return True
    return False


def unreached(successors: Mapping[int, tuple[int, ...]]) -> set[int]:
    """Return the places to which no walk from place 0 comes."""
    reached, waiting = {START}, [START]
    while waiting:
        for each in successors.get(waiting.pop(), ()):
            if each not in reached:
                reached.add(each)
                waiting.append(each)
    return set(successors) - reached
