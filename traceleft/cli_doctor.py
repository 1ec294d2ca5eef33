"""The command ``doctor``: what this kernel offers, what would be used, what is missing and the remedy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from traceleft.cli_explain import Finding, explain_battery
from traceleft.errors import TraceleftError

if TYPE_CHECKING:
    from traceleft.tracer.kernel import KernelFeatures


# acct on x86_64.
RARE_CALL: Final = 163


@dataclass(frozen=True, slots=True)
class Choice:
    """What a trace would use for one of its parts, or why it could not."""

    name: str
    is_there: bool
    value: str


@click.command("doctor")
@click.option(
    "--battery", type=click.Path(path_type=Path), metavar="PATH", help="Explain how this battery would serve."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor_command(battery: Path | None, as_json: bool) -> None:
    """Show what this kernel offers, what would be used, what is missing and the remedy."""
    from traceleft.tracer.kernel import probe_kernel

    features = probe_kernel()
    choices = (
        choose_level(features),
        choose_hook(features),
        weigh_hooks(features),
        choose_battery(battery),
        choose_compiler(),
        choose_symbols(),
    )
    findings = explain_battery(battery) if battery else ()
    describe = describe_json if as_json else describe_text
    click.echo(describe(features, choices, findings))


def choose_level(features: "KernelFeatures") -> Choice:
    """Return the highest level that the kernel offers, and why none above it."""
    from traceleft.tracer.levels import LEVELS, explain_level, offered_levels

    offered = offered_levels(features)
    if not offered:
        return Choice("level", False, "; ".join(f"{name}: {explain_level(features, name)}" for name in LEVELS))
    reasons = [f"{offered[0]}: {explain_level(features, offered[0])}"]
    above = tuple(LEVELS)[: tuple(LEVELS).index(offered[0])]
    return Choice("level", True, "; ".join(reasons + [f"{name}: {explain_level(features, name)}" for name in above]))


def choose_hook(features: "KernelFeatures") -> Choice:
    """Return the hook that ``--attach auto`` would take."""
    from traceleft.tracer import kernel
    from traceleft.tracer.levels import LEVELS, offered_levels

    among = next((LEVELS[name].hooks for name in offered_levels(features)), kernel.HOOKS)
    try:
        return Choice("hook", True, kernel.choose_hook(features, among=among))
    except TraceleftError as error:
        return Choice("hook", False, str(error))


def weigh_hooks(features: "KernelFeatures") -> Choice:
    """Return the hook that ``--attach auto`` would take now where it matters most: few rare calls, of any process."""
    from traceleft.tracer.costs import RAW, TRACEPOINT, Shape, explain_costs
    from traceleft.tracer.rates import measure_rates

    if not (features.has(RAW) and features.has(TRACEPOINT)):
        return Choice("rare_calls", True, "as others: there is one hook of the two to weigh")
    rates = measure_rates([RARE_CALL])
    if rates is None:
        return Choice("rare_calls", False, f"{RAW}: calls cannot be counted here")
    return Choice("rare_calls", True, f"{explain_costs(Shape('all', keeps_entries=True), rates)} (trace -T -e acct)")


def choose_symbols() -> Choice:
    """Return what would name the functions in stacks."""
    from traceleft.tracer.symbols import import_bcc

    bcc = import_bcc()
    if bcc is None:
        lacking = "functions of the kernel alone have names; install bcc (apt install python3-bpfcc)"
        return Choice("symbols", False, lacking)
    return Choice("symbols", True, f"bcc {getattr(bcc, '__version__', '')}".rstrip())


def choose_battery(named: Path | None) -> Choice:
    """Return the battery that a trace would use."""
    from traceleft import cli_battery

    try:
        found = cli_battery.choose_battery(named, ()).battery
    except TraceleftError as error:
        return Choice("battery", False, str(error))
    if found is None:
        return Choice("battery", False, f"none yet; a trace would make {cli_battery.cache_directory() / 'battery'}")
    return Choice("battery", True, str(found.path))


def choose_compiler() -> Choice:
    """Return the compiler that would build a battery."""
    from traceleft.battery.compiler import find_compiler

    try:
        return Choice("compiler", True, find_compiler().clang)
    except TraceleftError as error:
        return Choice("compiler", False, str(error))


def describe_json(features: "KernelFeatures", choices: tuple[Choice, ...], findings: tuple[Finding, ...]) -> str:
    """Return all of it as one line of JSON."""
    chosen = {choice.name: {"present": choice.is_there, "value": choice.value} for choice in choices}
    battery = {each.name: {"present": each.is_there, "value": each.value, "names": each.names} for each in findings}
    return json.dumps({**features.to_json(), "chosen": chosen} | ({"battery": battery} if findings else {}))


def describe_text(features: "KernelFeatures", choices: tuple[Choice, ...], findings: tuple[Finding, ...]) -> str:
    """Return a line for each feature and choice, those that are lacking with their remedy."""
    lines = [f"kernel {features.release}, {features.machine}, {features.cpus} CPUs", "", "offered"]
    for feature in features.features.values():
        remedy = f"; {feature.remedy}" if feature.remedy and not feature.is_present else ""
        lines.append(line(feature.name, feature.is_present, f"{feature.value}{remedy}"))
    lines += ["", "used by a trace"]
    lines += [line(choice.name, choice.is_there, choice.value) for choice in choices]
    lines += ["", "the battery"] if findings else []
    lines += [line(each.name, each.is_there, each.text) for each in findings]
    return "\n".join(lines)


def line(name: str, is_there: bool, text: str) -> str:
    """Return one line of the report."""
    return f"  {'✓' if is_there else '✗'} {name.replace('_', ' '):<16} {text}"
