"""Falling back: where the kernel refuses an object of a level, the whole trace goes to the next lower one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from traceleft.errors import RefusedError
from traceleft.tracer.kernel.events import describe_refused, shorten
from traceleft.tracer.session.choice import Choice
from traceleft.tracer.session.filters import Filters
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.plan import Plan
from traceleft.tracer.session.session import Session

Tell = Callable[[str], object]


@contextmanager
def open_session(choice: Choice, plan: Plan, filters: Filters, options: Options, *, tell: Tell) -> Iterator[Session]:
    """Load a plan, or that of a lower level that the kernel takes whole; ``tell`` gets a line for what differs.

    Where the kernel takes all of no level, the trace goes on at the plan's own without the events that are refused.
    RefusedError where one of these is among the choice's ``required``, or the core is refused. Nothing remains of a
    level that is left.
    """
    with ExitStack() as stack:
        yield _enter_first(choice, plan, filters, options, stack, tell)


def _enter_first(
    choice: Choice, plan: Plan, filters: Filters, options: Options, stack: ExitStack, tell: Tell
) -> Session:
    try:
        return stack.enter_context(Session(plan, filters, options))
    except RefusedError as exc:
        # Its words alone: the error would keep what was loaded so far.
        reason = str(exc)
    for lower in choice.below(plan):
        try:
            session = stack.enter_context(Session(lower, filters, options))
        except RefusedError:
            continue
        tell(f"{reason}: level {lower.level.name} is used in place of {plan.level.name} (hook: {lower.hook})")
        if gone := _names(plan) - _names(lower):
            tell(f"left out on hook {lower.hook}, which cannot serve them here: {shorten(sorted(gone))}")
        return session
    session = stack.enter_context(Session(plan, filters, options, required=choice.required))
    tell(describe_refused(session.left_out))
    return session


def _names(plan: Plan) -> set[str]:
    return {part.spec.name for part in plan.parts}
