"""Batteries tried for real: on the kernel underneath, and on Debian's 6.1 as a user's own kernel."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.support.paths import ROOT
from tests.support.refusing import with_odd_exits
from traceleft.battery import Battery
from traceleft.battery.builder.build import build
from traceleft.battery.manifest import digest_of, dump_manifest
from traceleft.battery.store import object_path
from traceleft.battery.verify import verify_battery
from traceleft.generator import generate
from traceleft.linux import HOOKS
from traceleft.tracer.kernel.features import probe_kernel
from traceleft.tracer.qualify.workload import EVENTS, ROUNDS

FORMATS = ROOT / "tests/data/formats/6.1.0-50-cloud-amd64.json.xz"
LEVELS = {"5.8": HOOKS, "4.18": HOOKS, "4.11": HOOKS[1:]}
TRIED = [(level, hook) for level, hooks in LEVELS.items() for hook in hooks]
SYSCALLS = len(EVENTS) + 1
# Twelve calls a round, then what the grandchild calls, two of execve and the end.
MADE = 14 * ROUNDS + 4


@pytest.fixture(scope="module")
def battery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("battery")
    expressions = [*EVENTS, "mmap", "sched:sched_process_exec"]
    generate(FORMATS, expressions=expressions, output=directory / "generated")
    build(directory / "generated", directory / "battery", levels=list(LEVELS))
    return directory / "battery"


def replace_object(battery: Path, event: str, level: str, change: Callable[[bytes], bytes]) -> None:
    """Put other bytes in the place of an object, and agree with them in the manifest."""
    opened = Battery.open(battery)
    manifest = opened.manifest
    (name,) = opened.releases
    release = manifest.releases[name]
    old = release.events[event][level]
    data = change(opened.object_bytes(old))
    new = digest_of(data)
    path = object_path(battery, new)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    events = {**release.events, event: {**release.events[event], level: new}}
    forged = structs.replace(
        manifest,
        objects={**manifest.objects, new: structs.replace(manifest.objects[old], sources={level: digest_of(b"")})},
        releases={name: structs.replace(release, events=events)},
    )
    # The old one is no longer of this level.
    del forged.objects[old]
    (battery / "manifest.json").write_bytes(dump_manifest(forged))


def run_qualify(battery: Path, *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    command = [sys.executable, "-m", "traceleft.tracer.qualify", str(battery), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.kernel
def test_running_kernel_does_all_that_it_offers(battery: Path) -> None:
    features = probe_kernel(only=HOOKS)

    status, lines, _ = run_qualify(battery)

    assert status == 0
    assert [(line["level"], line["hook"]) for line in lines] == TRIED
    for line in lines:
        assert (line["status"] == "absent") == (not features.has(line["hook"])), line
        if line["status"] == "ok":
            assert line["loaded"] == line["built"] == SYSCALLS + 1 + (line["hook"] == "tracepoint")
            assert line["delivered"] == line["made"] == MADE


@pytest.mark.kernel
def test_object_that_does_not_load_is_named_with_the_reason(battery: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(battery, broken)
    replace_object(broken, "mmap", "5.8", with_odd_exits)

    status, (line,), _ = run_qualify(broken, "--level", "5.8", "--hook", "raw_tracepoint")

    assert (status, line["status"]) == (1, "failed")
    assert (line["built"], line["loaded"], line["attached"]) == (SYSCALLS + 1, SYSCALLS, SYSCALLS)
    assert line["made"] == line["delivered"] == MADE
    assert line["problems"] == [line["why"]]
    assert line["why"].startswith("mmap: cannot load: ")


@pytest.mark.kernel
def test_battery_without_the_workload_says_that_nothing_was_made(tmp_path: Path) -> None:
    generate(FORMATS, expressions=["sync"], output=tmp_path / "generated")
    build(tmp_path / "generated", tmp_path / "battery", levels=["5.8"])

    status, (line,), _ = run_qualify(tmp_path / "battery", "--hook", "raw_tracepoint")

    assert (status, line["status"], line["loaded"], line["made"]) == (0, "ok", 2, 0)
    assert line["why"].startswith("the battery has none of the events that are made")


@pytest.mark.vm
def test_a_kernel_of_ones_own_is_qualified_and_the_evidence_kept(battery: Path) -> None:
    script = ROOT / "scripts/vm.sh"
    subprocess.run([script, "fetch", "6.1"], check=True, timeout=600, capture_output=True)
    cache = subprocess.run(
        ["bash", "-c", f"source <(grep ^cache= {script}); echo $cache"], check=True, capture_output=True, text=True
    )
    (kernel,) = Path(cache.stdout.strip()).glob("6.1/boot/vmlinuz-*")

    done = subprocess.run(
        [sys.executable, "-m", "traceleft", "battery", "qualify", battery, "--json", "--kernel-image", kernel],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["level"], line["hook"], line["status"]) for line in seen] == [(*each, "ok") for each in TRIED]
    assert all(line["loaded"] == line["built"] and line["delivered"] == line["made"] == MADE for line in seen)
    kept = verify_battery(battery).manifest.evidence
    assert len(kept) == len(TRIED)
    assert {f"vmlinuz-{each.kernel}" for each in kept} == {kernel.name}
