"""What all tests share: golden files, and skips that state what is missing."""

import fcntl
import importlib.util
import os
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from tests.support.levels import BUILT, ENDS, RUNS
from tests.support.vm import GUESTS_MAX, PYTHON, choose_kernels, read_kernels, run_in

GOLDEN = Path(__file__).parent / "golden"
CACHE = Path(__file__).resolve().parent.parent / "build" / "tests"
TRACEPOINTS = (
    "sched:sched_process_exec",
    "sched:sched_process_fork",
    "sched:sched_switch",
    "signal:signal_generate",
    "sock:inet_sock_set_state",
)


class NotOffered(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """Skips a test in a kernel that lacks what the test is about, as that kernel itself says."""


CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 21, 38, 39


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files instead of comparing")
    parser.addoption(
        "--jit", default="on", choices=("on", "off", "both"), help="states of BPF's JIT to run commands with"
    )
    parser.addoption(
        "--commands", default="all", choices=("all", "ends", "none"), help="levels and hooks to run commands at"
    )
    parser.addoption("--kernels", default="all", help="which kernels to boot: all, ends, or names")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the commands inside other kernels where none are asked for."""
    return (config.getoption("--commands") == "none" and collection_path.name == "test_vm_commands.py") or None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for a ``kernel`` one after another of those that are chosen."""
    is_given = any("kernel" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "kernel" in metafunc.fixturenames and not is_given:
        metafunc.parametrize("kernel", choose_kernels(metafunc.config.getoption("--kernels")), scope="session")
    if "command_run" in metafunc.fixturenames:
        runs = RUNS if metafunc.config.getoption("--commands") == "all" else ENDS
        metafunc.parametrize("command_run", runs, ids=["-".join(run) for run in runs], scope="session")


def pytest_report_header(config: pytest.Config) -> str:
    """Tell which kernels the tests boot, so that none is left out in silence."""
    return f"kernels: {', '.join(choose_kernels(config.getoption('--kernels')))} of {', '.join(read_kernels())}"


@pytest.fixture(scope="session")
def kernels(pytestconfig: pytest.Config) -> list[str]:
    """Return the kernels that are booted, the oldest first."""
    return choose_kernels(pytestconfig.getoption("--kernels"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the tests that write golden files when these are to be rewritten."""
    if config.getoption("--update-golden"):
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Return a check that a text equals ``tests/golden/<name>``; ``--update-golden`` rewrites the file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.is_file(), f"tests/golden/{name} is missing: run `make golden` and read the difference"
        assert text == path.read_text(), f"tests/golden/{name} differs: run `make golden` and read the difference"

    return check


@pytest.fixture(scope="session")
def kernel_battery() -> Path:
    """Return a battery with every syscall and some tracepoints of the running kernel.

    It stays in build/tests: the next run compiles only what changed. Needs root.
    """
    from traceleft.battery import Battery
    from traceleft.battery.builder.build import build
    from traceleft.errors import TraceleftError
    from traceleft.generator import generate

    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            Battery.open(CACHE / "battery")
        except TraceleftError:
            # Made by an older traceleft, or damaged: begin anew.
            shutil.rmtree(CACHE / "battery", ignore_errors=True)
        generate(None, expressions=["all", *TRACEPOINTS], output=CACHE / "generated")
        build(CACHE / "generated", CACHE / "battery", levels=["5.8"])
    return CACHE / "battery"


@pytest.fixture(scope="session")
def vm_battery(kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a battery of all syscalls of these kernels, for all levels, of what each shows of its formats.

    It stays in build/tests: the next run compiles only what changed.
    """
    from traceleft.battery import Battery
    from traceleft.battery.builder.build import build
    from traceleft.errors import TraceleftError
    from traceleft.generator import generate

    place = CACHE / "vm-battery"
    CACHE.mkdir(parents=True, exist_ok=True)
    outs = {kernel: tmp_path_factory.mktemp(f"snapshot-{kernel}") for kernel in kernels}
    with ThreadPoolExecutor(GUESTS_MAX) as pool:
        command = f"{PYTHON} -m traceleft snapshot -o /mnt/snapshot"
        list(pool.map(lambda kernel: run_in(kernel, outs[kernel], command), kernels))
    with (CACHE / "vm-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            Battery.open(place)
        except TraceleftError:
            shutil.rmtree(place, ignore_errors=True)
        for out in outs.values():
            generate(out / "snapshot", expressions=["all"], output=out / "generated")
            build(out / "generated", place, levels=BUILT)
    return place


@cache
def lacks_bpf() -> str | None:
    """Tell why programs cannot be loaded here, or None when they can."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    capabilities = int(status["CapEff"], 16)
    if capabilities >> CAP_SYS_ADMIN & 1 or (capabilities >> CAP_BPF & 1 and capabilities >> CAP_PERFMON & 1):
        return None
    return "needs root, or CAP_BPF and CAP_PERFMON"


@cache
def lacks_qemu() -> str | None:
    """Tell why no other kernel can be booted here, or None when one can."""
    return None if shutil.which("qemu-system-x86_64") else "needs qemu-system-x86_64 (apt install qemu-system-x86)"


@cache
def lacks_spark() -> str | None:
    """Tell why Spark cannot run here, or None when it can."""
    if importlib.util.find_spec("pyspark") is None:
        return "needs pyspark (pip install 'traceleft[fleet]')"
    home = Path(os.environ.get("JAVA_HOME", "/nonexistent")) / "bin" / "java"
    found = home.is_file() or shutil.which("java") or any(Path("/usr/lib/jvm").glob("*/bin/java"))
    return None if found else "needs Java 17 (apt install openjdk-17-jre-headless)"


NEEDS = {"kernel": lacks_bpf, "vm": lacks_qemu, "spark": lacks_spark}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run, with the reason; on CI a missing QEMU is a failure."""
    for marker, lacks in NEEDS.items():
        if item.get_closest_marker(marker) is None or (reason := lacks()) is None:
            continue
        if marker == "vm" and os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; on CI it must be there", pytrace=False)
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when all that the test's markers ask for is there."""
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(NotOffered):
        return report
    markers = [marker for marker in NEEDS if item.get_closest_marker(marker) is not None]
    if markers and report.skipped and not hasattr(report, "wasxfail") and not any(NEEDS[name]() for name in markers):
        report.outcome = "failed"
        report.longrepr = f"skipped although what it needs is there: {report.longreprtext}"
    return report
