"""A rollup held against the events that there are: each unknown event or argument one error with its line."""

from collections.abc import Iterable, Iterator, Mapping

from traceleft.aggregator.rollups.expression_tree import (
    Arg,
    Both,
    Call,
    Compare,
    Constant,
    Expression,
    IsNone,
    Name,
    Not,
)
from traceleft.aggregator.rollups.results import order_measure
from traceleft.aggregator.rollups.rollup import Rollup
from traceleft.errors import ExpressionError
from traceleft.expression import Catalogue, select, suggest
from traceleft.tracer.schema.spec import EventSpec, make_catalogue


def select_events(rollup: Rollup, catalogue: Catalogue) -> frozenset[str]:
    """Return the names of the events that a rollup is about; ``FormatError`` with the line of one that is unknown."""
    if not rollup.events:
        return catalogue.names
    for rank, expression in enumerate(rollup.events):
        try:
            select([expression], catalogue, default=catalogue.names)
        except ExpressionError as exc:
            raise rollup.error(str(exc), f"events.{rank}") from exc
    return frozenset(select(rollup.events, catalogue, default=catalogue.names))


def check_rollup(
    rollup: Rollup, specs: Mapping[str, EventSpec], *, catalogue: Catalogue | None = None
) -> frozenset[str]:
    """Check a rollup against events and return the names of those among ``specs`` that it is about.

    ``catalogue`` lists the events that may be named where they are more than ``specs``. Raise ``FormatError`` with the
    line of an event that is unknown, or an argument that none of the events has.
    """
    names = select_events(rollup, catalogue or make_catalogue(specs))
    chosen = names & specs.keys()
    if names <= specs.keys():
        known = {arg.name for name in chosen for arg in specs[name].args}
        for place, expression in expressions_of(rollup):
            _check_args(rollup, place, expression, known)
    return chosen


def expressions_of(rollup: Rollup) -> Iterator[tuple[str, Expression]]:
    """Yield a rollup's expressions, each with its place (see ``Rollup.lines``)."""
    if rollup.where is not None:
        yield "where", rollup.where
    for rank, key in enumerate(rollup.by):
        yield f"by.{rank}", key.expression
    for rank, measure in enumerate(rollup.measures):
        if measure.expression is not None:
            yield f"measures.{rank}", measure.expression
    order = order_measure(rollup)
    if order not in rollup.measures and order.expression is not None:
        yield "order_by", order.expression


def _check_args(rollup: Rollup, place: str, expression: Expression, known: Iterable[str]) -> None:
    for name in args_of(expression):
        if name not in known:
            hint = suggest(name, known)
            raise rollup.error(f"no argument of its events is named {name!r}{hint}", place)


def args_of(expression: Expression) -> Iterator[str]:
    """Yield the names of the arguments that an expression has in it."""
    return (leaf.name for leaf in leaves_of(expression) if isinstance(leaf, Arg))


def columns_of(rollup: Rollup) -> frozenset[str]:
    """Return the names of the columns that a rollup is over, without arguments."""
    leaves = (leaf for _, expression in expressions_of(rollup) for leaf in leaves_of(expression))
    return frozenset(leaf.name for leaf in leaves if isinstance(leaf, Name))


def leaves_of(expression: Expression) -> Iterator[Name | Arg | Constant]:
    """Yield what an expression is made of."""
    match expression:
        case Name() | Arg() | Constant():
            yield expression
        case Call(_, subject, _):
            yield from leaves_of(subject)
        case Not(operand) | IsNone(operand):
            yield from leaves_of(operand)
        case Both(_, operands):
            for operand in operands:
                yield from leaves_of(operand)
        case Compare(_, left, right):
            yield from leaves_of(left)
            yield from leaves_of(right)
