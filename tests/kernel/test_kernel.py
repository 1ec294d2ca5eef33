"""What the running kernel offers, and the hook that is chosen."""

import json
import os
from dataclasses import replace

import pytest

from traceleft.errors import UnsupportedError
from traceleft.tracer.kernel.features import (
    EXACT,
    Feature,
    KernelFeatures,
    choose_hook,
    compat_offset,
    find_cgroup_mount,
    is_initial_pid_namespace,
    probe_kernel,
)


def features(*names: str) -> KernelFeatures:
    known = ("privileges", "raw_tracepoint", "tracepoint", "kprobe")
    return KernelFeatures(
        "6.18.0", "x86_64", 2, {name: Feature(name, name in names, "no", f"get {name}") for name in known}
    )


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (("raw_tracepoint", "tracepoint", "kprobe"), "raw_tracepoint"),
        (("tracepoint", "kprobe"), "tracepoint"),
        (("kprobe",), "kprobe"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value,
)
def test_auto_takes_the_cheapest_hook_there_is(present: tuple[str, ...], chosen: str) -> None:
    assert choose_hook(features("privileges", *present)) == chosen


@pytest.mark.parametrize(
    ("present", "chosen"),
    [
        (("raw_tracepoint", "tracepoint", "kprobe"), "tracepoint"),
        (("raw_tracepoint", "kprobe"), "kprobe"),
        (("raw_tracepoint",), "raw_tracepoint"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else value,
)
def test_auto_takes_raw_tracepoints_last_where_the_kernel_skips_programs_there(
    present: tuple[str, ...], chosen: str
) -> None:
    known = features("privileges", *present)
    skipping = replace(known, features={**known.features, EXACT: Feature(EXACT, False, "no")})

    assert choose_hook(skipping) == chosen
    assert choose_hook(skipping, "raw_tracepoint") == "raw_tracepoint"


def test_hook_that_is_asked_for_is_taken() -> None:
    assert choose_hook(features("raw_tracepoint", "kprobe"), "kprobe") == "kprobe"


def test_hook_that_is_lacking_is_refused_with_the_remedy() -> None:
    with pytest.raises(UnsupportedError, match="get kprobe"):
        choose_hook(features("raw_tracepoint"), "kprobe")


def test_unknown_hook_is_refused_with_the_names() -> None:
    with pytest.raises(UnsupportedError, match="raw_tracepoint, tracepoint, kprobe"):
        choose_hook(features(), "uprobe")


def test_lacking_privileges_are_the_reason_for_lacking_hooks() -> None:
    with pytest.raises(UnsupportedError, match="get privileges"):
        choose_hook(features())


def test_everything_that_is_lacking_has_a_remedy() -> None:
    for feature in probe_kernel().features.values():
        assert feature.value
        assert feature.is_present or feature.remedy, feature


def test_features_are_a_json_document() -> None:
    document = json.loads(json.dumps(probe_kernel().to_json()))

    assert document["release"] == os.uname().release
    assert set(document["features"]["privileges"]) == {"present", "value", "remedy"}


def test_only_what_is_asked_for_is_probed() -> None:
    assert list(probe_kernel(only=["privileges"]).features) == ["privileges"]


def test_unprivileged_process_is_told_to_become_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give root up")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setresuid(65534, 65534, 65534)
        feature = probe_kernel(only=["privileges"]).features["privileges"]
        os.write(writer, f"{feature.is_present} {feature.remedy}".encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(reader, 200).decode().startswith("False run as root")
    os.close(reader)
    os.close(writer)


@pytest.mark.kernel
def test_live_kernel_offers_what_level_5_8_needs() -> None:
    found = probe_kernel()

    for name in ("privileges", "pid_namespace", "tracefs", "ring_buffer", "raw_tracepoint", "tracepoint"):
        found.require(name)
    assert choose_hook(found) == "raw_tracepoint"
    assert is_initial_pid_namespace()


@pytest.mark.kernel
def test_live_kernel_tells_32_bit_calls() -> None:
    offset = compat_offset()

    assert offset is not None
    assert 0 < offset < 4096


@pytest.mark.kernel
def test_live_cgroup_mount_is_a_directory() -> None:
    place = find_cgroup_mount()

    assert place is not None
    assert (place / "cgroup.controllers").exists()
