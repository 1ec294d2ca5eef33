"""Which hook a trace takes at a level, and what is said of events that a hook cannot serve."""

from dataclasses import replace

import pytest

from tests.support.records import spec_of
from tests.tracer.test_levels import OFFERS, kernel
from traceleft.errors import UnsupportedError
from traceleft.linux import HOOKS
from traceleft.tracer.account.remedy import missed_remedy
from traceleft.tracer.kernel.events import NO_KPROBE, NO_NUMBER
from traceleft.tracer.kernel.features import Feature, KernelFeatures, choose_hook
from traceleft.tracer.kernel.levels import LEVELS
from traceleft.tracer.schema.spec import EventSpec
from traceleft.tracer.session.choice import pick_hook, refuse_absent

READ = replace(spec_of(number=3)[0], name="read")
# A call that is newer than our table of numbers.
NEW = replace(spec_of(number=None)[0], name="new")


def features(level: str, *hooks: str) -> KernelFeatures:
    """Return what a kernel offers whose highest level this is, with these hooks or all of the level's."""
    have = (OFFERS[level] - set(HOOKS)) | set(hooks or LEVELS[level].hooks)
    lacking = {hook: Feature(hook, False, "no", f"get {hook}") for hook in HOOKS}
    found = kernel(*have)
    return replace(found, features={**lacking, **{name: Feature(name, True, "yes") for name in have}})


def pick(level: str, *specs: EventSpec, hook: str = "auto", required: tuple[str, ...] = ()) -> str:
    return pick_hook(features(level), specs, hook, LEVELS[level], shape=None, required=required)


@pytest.mark.parametrize(
    ("level", "hook"),
    [("5.8", "raw_tracepoint"), ("4.18", "raw_tracepoint"), ("4.11", "tracepoint"), ("4.4", "kprobe")],
)
def test_one_call_without_a_number_leaves_the_others_their_hook(level: str, hook: str) -> None:
    assert pick(level, READ, NEW) == hook


def test_call_without_a_number_that_is_named_is_traced_by_its_tracepoint() -> None:
    assert pick("5.8", READ, NEW, required=("new",)) == "tracepoint"
    assert pick("5.8", NEW) == "tracepoint"


@pytest.mark.parametrize("required", [(), ("new",)], ids=["left out", "named"])
def test_level_4_4_takes_kprobes_unasked(required: tuple[str, ...]) -> None:
    assert pick("4.4", READ, NEW, required=required) == "kprobe"


def test_hook_that_the_level_lacks_names_those_that_this_kernel_has() -> None:
    has = features("5.8", "raw_tracepoint", "tracepoint")

    with pytest.raises(UnsupportedError, match=r"this level has none; use --attach tracepoint$"):
        choose_hook(has, "raw_tracepoint", among=LEVELS["4.11"].hooks)


def test_named_event_that_a_hook_cannot_serve_names_hooks_that_can() -> None:
    with pytest.raises(UnsupportedError, match=f"^probe: {NO_NUMBER}; use --attach tracepoint or kprobe$"):
        refuse_absent({"probe": NO_NUMBER}, {"probe"}, others=["tracepoint", "kprobe"])
    with pytest.raises(UnsupportedError, match=f"^probe: {NO_KPROBE}$"):
        refuse_absent({"probe": NO_KPROBE}, {"probe"}, others=[])


@pytest.mark.parametrize(
    ("hook", "offered", "text"),
    [
        ("kprobe", ("kprobe",), "under way: follow fewer processes"),
        ("kprobe", ("tracepoint", "kprobe"), "under way: follow fewer processes, or --attach tracepoint"),
        ("raw_tracepoint", ("raw_tracepoint", "kprobe"), "a kernel map was full: follow fewer processes"),
    ],
)
def test_remedy_for_missed_calls_names_only_hooks_that_are_there(
    hook: str, offered: tuple[str, ...], text: str
) -> None:
    assert missed_remedy(hook, offered).endswith(text)
