"""The command ``doctor``: what this kernel offers, what would be used, what is missing and the remedy."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from traceleft.cli.explain import Finding, explain_battery
from traceleft.errors import TraceleftError
from traceleft.linux import HOOKS, RAW_TRACEPOINT, TRACEPOINT
from traceleft.terminal import printable, say_lines

if TYPE_CHECKING:
    from traceleft.battery import Battery
    from traceleft.tracer.kernel.features import KernelFeatures
    from traceleft.tracer.session.trial import Trial


# acct on x86_64.
RARE_CALL: Final = 163


@dataclass(frozen=True, slots=True)
class Choice:
    """What a trace would use for one of its parts, or why it could not."""

    name: str
    is_there: bool
    value: str


@dataclass(frozen=True, slots=True)
class ChosenBattery:
    """The battery that a trace would use, None where there is none, and what is said of it."""

    battery: "Battery | None"
    choice: Choice


@click.command("doctor")
@click.option(
    "--battery", type=click.Path(path_type=Path), metavar="PATH", help="Explain how this battery would serve."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor_command(battery: Path | None, as_json: bool) -> None:
    """Show what this kernel offers, what would be used, what is missing and the remedy."""
    from traceleft.tracer.kernel.features import probe_kernel

    features = probe_kernel()
    chosen = choose_battery(battery)
    trial = try_battery(chosen) if features.has("privileges") else None
    choices = (
        choose_level(features, trial),
        choose_hook(features, trial),
        show_loaded(chosen, trial),
        weigh_hooks(features, trial),
        chosen.choice,
        choose_compiler(),
        choose_symbols(),
    )
    findings = explain_battery(battery) if battery else ()
    describe = describe_json if as_json else describe_text
    say_lines(describe(features, choices, findings))


def try_battery(chosen: "ChosenBattery") -> "Trial | TraceleftError | None":
    """Load what a trace of every syscall would, of the battery that it would use; None where there is none yet."""
    from traceleft.tracer.session.trial import try_battery

    if chosen.battery is None:
        return None
    try:
        return try_battery(chosen.battery)
    except TraceleftError as error:
        return error


def choose_level(features: "KernelFeatures", trial: "Trial | TraceleftError | None") -> Choice:
    """Return the level that a trace comes to, else the highest that the kernel offers, and why none above it."""
    from traceleft.tracer.kernel.levels import LEVELS, explain_level, offered_levels

    offered = offered_levels(features)
    if not offered:
        return Choice("level", False, "; ".join(f"{name}: {explain_level(features, name)}" for name in LEVELS))
    taken = offered[0] if trial is None or isinstance(trial, TraceleftError) else trial.level
    above = tuple(LEVELS)[: tuple(LEVELS).index(taken)]
    reasons = [f"{name}: {explain_level(features, name)}" for name in above if name not in offered]
    passed_over = [f"{name}: not used, see objects" for name in above if name in offered]
    return Choice("level", True, "; ".join([f"{taken}: {explain_level(features, taken)}", *passed_over, *reasons]))


def choose_hook(features: "KernelFeatures", trial: "Trial | TraceleftError | None") -> Choice:
    """Return the hook that ``--attach auto`` would take."""
    from traceleft.tracer.kernel import features as kernel
    from traceleft.tracer.kernel.levels import LEVELS, offered_levels

    if trial is not None and not isinstance(trial, TraceleftError):
        return Choice("hook", True, trial.hook)
    among = next((LEVELS[name].hooks for name in offered_levels(features)), HOOKS)
    try:
        return Choice("hook", True, kernel.choose_hook(features, among=among))
    except TraceleftError as error:
        return Choice("hook", False, str(error))


def show_loaded(chosen: "ChosenBattery", trial: "Trial | TraceleftError | None") -> Choice:
    """Return what the kernel took of the battery when it was tried, and what it refused."""
    if isinstance(trial, TraceleftError):
        return Choice("objects", False, str(trial))
    if trial is None:
        why = "there is no battery" if chosen.battery is None else "the privileges are lacking"
        return Choice("objects", False, f"not tried: {why}")
    text = f"the core and {trial.handlers} handlers load at level {trial.level}"
    return Choice("objects", not trial.notices, "; ".join([text, *trial.notices]))


def weigh_hooks(features: "KernelFeatures", trial: "Trial | TraceleftError | None") -> Choice:
    """Return the hook that ``--attach auto`` would take now where it matters most: few rare calls, of any process."""
    from traceleft.tracer.kernel.counters import measure_rates
    from traceleft.tracer.session.costs import Shape, explain_costs

    others = trial is not None and not isinstance(trial, TraceleftError) and trial.hook != RAW_TRACEPOINT
    if others or not (features.has(RAW_TRACEPOINT) and features.has(TRACEPOINT)):
        return Choice("rare_calls", True, "as others: there is one hook of the two to weigh")
    rates = measure_rates([RARE_CALL])
    if rates is None:
        return Choice("rare_calls", False, f"{RAW_TRACEPOINT}: calls cannot be counted here")
    return Choice("rare_calls", True, f"{explain_costs(Shape('all', keeps_entries=True), rates)} (trace -T -e acct)")


def choose_symbols() -> Choice:
    """Return what would name the kernel's functions in stacks; those of processes are read from their files."""
    from traceleft.tracer.stacks.symbols import KALLSYMS, import_bcc

    bcc = import_bcc()
    return Choice("symbols", True, str(KALLSYMS) if bcc is None else f"bcc {getattr(bcc, '__version__', '')}".rstrip())


def choose_battery(named: Path | None) -> ChosenBattery:
    """Return the battery that a trace would use."""
    from traceleft.cli import batteries as cli_battery

    try:
        found = cli_battery.choose_battery(named, ()).battery
    except TraceleftError as error:
        return ChosenBattery(None, Choice("battery", False, str(error)))
    if found is None:
        text = f"none yet; a trace would make {cli_battery.cache_directory() / 'battery'}"
        return ChosenBattery(None, Choice("battery", False, text))
    return ChosenBattery(found, Choice("battery", True, str(found.path)))


def choose_compiler() -> Choice:
    """Return the compiler that would build a battery."""
    from traceleft.battery.builder.compiler import find_compiler

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
    return "\n".join(map(printable, lines))


def line(name: str, is_there: bool, text: str) -> str:
    """Return one line of the report."""
    return f"  {'✓' if is_there else '✗'} {name.replace('_', ' '):<16} {text}"
