"""What is asked of a trace and its level or hook cannot do: refused before anything is loaded."""

from traceleft.errors import UnsupportedError
from traceleft.tracer import _native
from traceleft.tracer.kernel.levels import refuse_stack_level
from traceleft.tracer.session.filters import Filters
from traceleft.tracer.session.options import Options
from traceleft.tracer.session.plan import Plan


def check_plan(plan: Plan, filters: Filters, options: Options) -> None:
    """Raise UnsupportedError where a plan cannot do what filters and options ask."""
    if options.rollup is not None and (reason := options.rollup.why_not(plan, _native.possible_cpus())):
        raise UnsupportedError("a rollup in the kernel", reason)
    if options.stacks is not None:
        refuse_stack_level(plan.level)
    if filters.cgroup is not None and plan.level.is_stack:
        raise UnsupportedError(
            "--cgroup", f"level {plan.level.name} cannot tell cgroups; filter by --uid, --comm or -p"
        )
