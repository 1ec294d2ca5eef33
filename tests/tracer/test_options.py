"""Groups of options: what can never work is refused as soon as it is said, in one line that names the remedy."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from traceleft import (
    BufferOptions,
    CountOptions,
    DetailOptions,
    FilterOptions,
    LimitOptions,
    ProbeOptions,
    StackOptions,
    TraceleftError,
)
from traceleft.tracer.session.kernel_rollup import KernelRollup
from traceleft.tracer.session.options import Options, make_options

ROLLUP = KernelRollup(("event",))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FilterOptions(uid=-1), "uid: a user number lies between 0 and 4294967294"),
        (lambda: FilterOptions(comm="sixteen-letters!"), "give the first 15"),
        (lambda: FilterOptions(errno=0), "errno: lies between 1 and 4095"),
        (lambda: FilterOptions(success_only=True, failed_only=True), "choose successful or failed calls"),
        (lambda: DetailOptions(text_limit=-1), "text limit: is not negative"),
        (lambda: ProbeOptions(hook="uprobe"), "hook uprobe: choose one of auto, raw_tracepoint, tracepoint, kprobe"),
        (lambda: ProbeOptions(level="5.7"), "level 5.7: choose one of 5.8, 4.18, 4.11, 4.4"),
        (lambda: CountOptions(counting="all"), "counting 'all': choose only or too"),  # type: ignore[arg-type]
        (lambda: CountOptions(counting="only", rollup=ROLLUP), "choose one of counting and rollup"),
        (lambda: BufferOptions(pages=0), "a buffer of 0 pages: choose between 1 and"),
        (lambda: BufferOptions(queue_bytes=0), "a queue of 0 bytes: choose 1 or more"),
        (lambda: StackOptions(entries=0), "0 stacks: choose between 1 and 1048576"),
        (lambda: LimitOptions(max_overhead_pct=0), "a limit of 0 %: choose more than 0 and at most 100"),
        (lambda: LimitOptions(max_overhead_pct=100.5), "at most 100"),
        (lambda: LimitOptions(max_overhead_pct=float("nan")), "at most 100"),
    ],
)
def test_value_that_cannot_work_is_refused_where_it_is_given(make: Callable[[], object], text: str) -> None:
    with pytest.raises(TraceleftError) as caught:
        make()

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_limit_may_be_a_fraction() -> None:
    assert LimitOptions(max_overhead_pct=0.5).max_overhead_pct == 0.5


def test_options_do_not_change() -> None:
    options = FilterOptions(uid=1)

    with pytest.raises(FrozenInstanceError):
        options.uid = 2  # type: ignore[misc]


def made(
    *, follows: bool = True, asks_result: bool = False, unfinished: bool | None = None, **counts: object
) -> Options:
    return make_options(
        CountOptions(**counts),  # type: ignore[arg-type]
        DetailOptions(unfinished=unfinished),
        BufferOptions(),
        None,
        follows=follows,
        asks_result=asks_result,
        sheds=bool(counts),
    )


def test_unfinished_calls_are_reported_of_what_is_followed() -> None:
    assert made().unfinished
    assert not made(follows=False).unfinished
    assert made(follows=False, unfinished=True).unfinished
    assert not made(unfinished=False).unfinished


def test_unfinished_calls_have_no_result_and_are_not_counted() -> None:
    assert not made(asks_result=True, unfinished=True).unfinished
    assert not made(counting="only").unfinished
    assert not made(rollup=KernelRollup(("event",), only=True)).unfinished
    assert made(counting="too").unfinished


def test_what_may_be_shed_is_counted() -> None:
    assert made(rollup=KernelRollup(("event",), only=True)).counting == "too"
    assert made(rollup=KernelRollup(("event",), only=False)).counting is None
    assert made(counting="only").counting == "only"
