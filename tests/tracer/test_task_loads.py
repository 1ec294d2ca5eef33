"""What stands for offsets, and for places of programs, in templates and in the loader."""

import re

from tests.support.paths import ROOT
from traceleft.generator.render import BOUNDS
from traceleft.tracer.kernel.task_loads import COMM_END, MEMBERS, NUMBERS_MIN
from traceleft.tracer.session.direct_jumps import NEAR_MAX, OFTEN_CALLED, choose_near

TEMPLATE = ROOT / "templates/include/task.h"


def test_template_and_loader_have_the_same_numbers() -> None:
    names = {int(number, 16): name for name, number in re.findall(r"#define (\w+) (0x7f\w\w)", TEMPLATE.read_text())}
    last = {number: path[-1] for number, path in MEMBERS.items()}
    expected = {
        number: f"{'task' if struct in ('task_struct', 'thread_info') else struct}_{member}".upper()
        for number, (struct, member) in last.items()
    }

    assert names == {**expected, COMM_END: "TASK_COMM_END"}
    assert min(names) == NUMBERS_MIN


def test_few_events_all_have_places() -> None:
    assert choose_near(["wait4", "execve"]) == {"execve": 0, "wait4": 1}


def test_of_many_events_those_called_most_have_places() -> None:
    near = choose_near([f"seldom{number}" for number in range(400)] + list(reversed(OFTEN_CALLED)))

    assert list(near) == list(OFTEN_CALLED)
    assert list(near.values()) == list(range(NEAR_MAX))
    assert BOUNDS["near_max"] == NEAR_MAX
