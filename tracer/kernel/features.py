"""What the running kernel offers, found by trying it, and the hook that is chosen for it."""

import os
import resource
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from traceleft import tracefs
from traceleft.errors import UnsupportedError
from traceleft.linux import HOOKS, RAW_TRACEPOINT
from traceleft.tracer import _native
from traceleft.tracer.kernel.kernel_btf import task_offsets
from traceleft.tracer.kernel.preemption import may_preempt_tracepoints

# enum bpf_map_type and enum bpf_prog_type of include/uapi/linux/bpf.h.
MAP_PERF_EVENT_ARRAY: Final = 4
MAP_PERCPU_ARRAY: Final = 6
MAP_RING_BUFFER: Final = 27
PROGRAM_KPROBE: Final = 2
PROGRAM_TRACEPOINT: Final = 5
PROGRAM_RAW_TRACEPOINT: Final = 17
# enum bpf_func_id of the same.
HELPER_READ_STR: Final = 45
HELPER_CGROUP_ID: Final = 80
HELPER_READ_USER_STR: Final = 114

CAP_SYS_ADMIN: Final = 21
CAP_PERFMON: Final = 38
CAP_BPF: Final = 39
# PROC_PID_INIT_INO of include/linux/proc_ns.h: the first pid namespace is the same on every boot.
INITIAL_PID_NAMESPACE: Final = "pid:[4026531836]"

# Not setcap on an interpreter: that would give the privileges to every script of every user.
PRIVILEGES: Final = (
    "run as root, or as a user with both: setpriv --inh-caps +bpf,+perfmon --ambient-caps +bpf,+perfmon, or "
    "AmbientCapabilities=CAP_BPF CAP_PERFMON in a systemd unit"
)
EXACT: Final = "raw_exact"
PROC: Final = Path("/proc")
SYS: Final = Path("/sys")


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a kernel offers or lacks; `remedy` says what to do where it is lacking."""

    name: str
    is_present: bool
    value: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class KernelFeatures:
    """What one kernel offers to this process."""

    release: str
    machine: str
    cpus: int
    features: Mapping[str, Feature]

    def has(self, name: str) -> bool:
        """Tell whether a feature is there."""
        return name in self.features and self.features[name].is_present

    def lacks(self, name: str) -> bool:
        """Tell whether a feature was looked for and is not there."""
        return name in self.features and not self.features[name].is_present

    def require(self, name: str) -> None:
        """Raise UnsupportedError with the remedy if a feature is lacking."""
        if not self.has(name):
            feature = self.features[name]
            raise UnsupportedError(feature.name.replace("_", " "), f"{feature.value}; {feature.remedy}")

    def to_json(self) -> dict[str, object]:
        """Return all of it as a document."""
        return {
            "release": self.release,
            "machine": self.machine,
            "cpus": self.cpus,
            "features": {
                name: {"present": each.is_present, "value": each.value, "remedy": each.remedy or None}
                for name, each in self.features.items()
            },
        }


def probe_kernel(*, only: Collection[str] | None = None) -> KernelFeatures:
    """Try what the running kernel offers, or `only` some features of it; nothing stays loaded."""
    probes: Mapping[str, Callable[[], Feature]] = {
        "privileges": _probe_privileges,
        "pid_namespace": _probe_pid_namespace,
        "no_lockdown": _probe_lockdown,
        "tracefs": _probe_tracefs,
        "syscall_events": _probe_syscall_events,
        "ring_buffer": _probe_ring_buffer,
        "read_user_str": _probe_read_user_str,
        "perf_buffer": _probe_perf_buffer,
        "percpu_maps": _probe_percpu_maps,
        "read_str": _probe_read_str,
        "cgroup_id": _probe_cgroup_id,
        RAW_TRACEPOINT: _probe_raw_tracepoint,
        EXACT: _probe_exact,
        "tracepoint": _probe_tracepoint,
        "kprobe": _probe_kprobe,
        "btf": _probe_btf,
        "compat": _probe_compat,
        "cgroup": _probe_cgroup,
        "memlock": _probe_memlock,
    }
    found = {name: probe() for name, probe in probes.items() if only is None or name in only}
    uname = os.uname()
    return KernelFeatures(uname.release, uname.machine, _native.possible_cpus(), found)


def choose_hook(features: KernelFeatures, requested: str = "auto", *, among: Sequence[str] = HOOKS) -> str:
    """Return the hook to use: the one asked for, else the cheapest that the kernel has, `among` those of a level.

    Raw tracepoints come last where the kernel skips programs on them (preemption.py).
    """
    if requested != "auto":
        features.require(check_hook(requested))
        if requested not in among:
            offered = " or ".join(hook for hook in among if features.has(hook))
            remedy = f"use --attach {offered}" if offered else "choose another --level"
            raise UnsupportedError(f"hook {requested}", f"this level has none; {remedy}")
        return requested
    present = [hook for hook in among if features.has(hook)]
    exact = [hook for hook in present if hook != RAW_TRACEPOINT or not features.lacks(EXACT)]
    for hook in exact or present:
        return hook
    features.require("privileges")
    raise UnsupportedError("hooks", "this kernel runs no programs at raw tracepoints, tracepoints or kprobes")


def check_hook(name: str) -> str:
    """Return the name of a hook, or ``auto``; UnsupportedError if there is none of that name."""
    if name not in ("auto", *HOOKS):
        raise UnsupportedError(f"hook {name}", f"choose one of auto, {', '.join(HOOKS)}")
    return name


def compat_offset() -> int | None:
    """Return where task_struct keeps thread_info.status, in bytes; None without BTF."""
    return task_offsets().status


def is_initial_pid_namespace() -> bool:
    """Tell whether pids seen here are the kernel's own."""
    try:
        return str((PROC / "self/ns/pid").readlink()) == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def capabilities() -> int:
    """Return the effective capabilities of this process."""
    for line in (PROC / "self/status").read_text(errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _probe_privileges() -> Feature:
    held = capabilities()
    names = [
        name
        for name, bit in (("CAP_SYS_ADMIN", CAP_SYS_ADMIN), ("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON))
        if held >> bit & 1
    ]
    is_enough = "CAP_SYS_ADMIN" in names or len(names) == 2
    return Feature(
        "privileges",
        is_enough,
        ", ".join(names) or "neither root nor CAP_BPF and CAP_PERFMON",
        "" if is_enough else PRIVILEGES,
    )


def _probe_pid_namespace() -> Feature:
    if is_initial_pid_namespace():
        return Feature("pid_namespace", True, "initial")
    return Feature(
        "pid_namespace",
        False,
        "pids seen here are not the kernel's",
        "choose a process on the host, or start the container with --pid=host",
    )


def _probe_lockdown() -> Feature:
    try:
        text = (SYS / "kernel/security/lockdown").read_text()
    except OSError:
        return Feature("no_lockdown", True, "no lockdown")
    mode = text.partition("[")[2].partition("]")[0] or "none"
    if mode == "confidentiality":
        return Feature("no_lockdown", False, f"lockdown is {mode}", "boot with lockdown=integrity or without")
    return Feature("no_lockdown", True, f"lockdown is {mode}")


def _probe_tracefs() -> Feature:
    try:
        return Feature("tracefs", True, str(tracefs.find_tracefs(mount=False)))
    except UnsupportedError as exc:
        return Feature("tracefs", False, "not readable", exc.remedy)


def _probe_syscall_events() -> Feature:
    try:
        place = tracefs.find_tracefs(mount=False) / "events/syscalls"
        count = sum(1 for entry in place.iterdir() if entry.name.startswith("sys_enter_"))
    except (UnsupportedError, OSError):
        return Feature("syscall_events", False, "none seen", "mount tracefs; needs CONFIG_FTRACE_SYSCALLS")
    return Feature("syscall_events", True, f"{count} syscalls")


def _probe_ring_buffer() -> Feature:
    return _probe_map("ring_buffer", MAP_RING_BUFFER, 0, os.sysconf("SC_PAGESIZE"), "5.8")


def _probe_perf_buffer() -> Feature:
    return _probe_map("perf_buffer", MAP_PERF_EVENT_ARRAY, 4, _native.possible_cpus(), "4.4")


def _probe_percpu_maps() -> Feature:
    return _probe_map("percpu_maps", MAP_PERCPU_ARRAY, 4, 1, "4.6")


def _probe_map(name: str, kind: int, size: int, entries: int, since: str) -> Feature:
    try:
        os.close(_native.map_create(kind, size, size, entries))
    except _native.Error as exc:
        return Feature(name, False, _said(exc), f"needs a kernel from {since} on, and the privileges")
    return Feature(name, True, "yes")


def _probe_read_user_str() -> Feature:
    return _probe_program("read_user_str", PROGRAM_KPROBE, "needs a kernel from 5.5 on", HELPER_READ_USER_STR)


def _probe_read_str() -> Feature:
    return _probe_program("read_str", PROGRAM_KPROBE, "needs a kernel from 4.11 on", HELPER_READ_STR)


def _probe_cgroup_id() -> Feature:
    remedy = "needs a kernel from 4.18 on, with CONFIG_CGROUPS"
    return _probe_program("cgroup_id", PROGRAM_RAW_TRACEPOINT, remedy, HELPER_CGROUP_ID)


def _probe_raw_tracepoint() -> Feature:
    return _probe_program(RAW_TRACEPOINT, PROGRAM_RAW_TRACEPOINT, "needs a kernel from 4.17 on")


def _probe_exact() -> Feature:
    if not may_preempt_tracepoints():
        return Feature(EXACT, True, "programs there are not preempted")
    return Feature(
        EXACT,
        False,
        "the kernel may preempt programs there, and skips other calls meanwhile",
        "--attach auto takes another hook",
    )


def _probe_tracepoint() -> Feature:
    feature = _probe_program("tracepoint", PROGRAM_TRACEPOINT, "needs a kernel from 4.7 on")
    if feature.is_present and not _probe_syscall_events().is_present:
        return Feature("tracepoint", False, "no syscalls:* events", "mount tracefs; needs CONFIG_FTRACE_SYSCALLS")
    return feature


def _probe_kprobe() -> Feature:
    feature = _probe_program("kprobe", PROGRAM_KPROBE, "needs a kernel from 4.1 on")
    if not feature.is_present:
        return feature
    if os.path.exists(SYS / "bus/event_source/devices/kprobe"):
        return Feature("kprobe", True, "through the kprobe PMU")
    # Not Path.exists(), which raises where a directory may not be searched.
    if any(os.path.exists(place / "kprobe_events") for place in tracefs.PLACES):
        return Feature("kprobe", True, "through tracefs")
    if not _probe_tracefs().is_present:
        return Feature("kprobe", False, "programs load, but tracefs cannot be looked at", "let this user read tracefs")
    return Feature(
        "kprobe", False, "programs load, but there is nothing to attach them to", "needs a kernel with CONFIG_KPROBES"
    )


def _probe_program(name: str, kind: int, remedy: str, helper: int = 0) -> Feature:
    try:
        _native.probe_program(kind, helper)
    except _native.Error as exc:
        return Feature(name, False, _said(exc), f"{remedy}, and the privileges")
    return Feature(name, True, "yes")


def _probe_btf() -> Feature:
    is_present = os.path.exists(SYS / "kernel/btf/vmlinux")
    return Feature("btf", is_present, "yes" if is_present else "no", "" if is_present else "not needed by any level")


def _probe_compat() -> Feature:
    offset = compat_offset()
    if offset is None:
        return Feature("compat", True, "without kernel BTF: 32-bit calls are recognised by a trial at load")
    return Feature("compat", True, f"thread_info.status at {offset}")


def _probe_cgroup() -> Feature:
    place = find_cgroup_mount()
    if place is None:
        return Feature("cgroup", False, "cgroup v2 is not mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    return Feature("cgroup", True, str(place))


def find_cgroup_mount() -> Path | None:
    """Return where cgroup v2 is mounted, None if it is not."""
    for line in (PROC / "self/mounts").read_text(errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1])
    return None


def _probe_memlock() -> Feature:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    # libbpf raises it by itself on the kernels that count maps against it.
    return Feature("memlock", True, "unlimited" if soft == resource.RLIM_INFINITY else f"{soft >> 10} KiB")


def _said(exc: _native.Error) -> str:
    return os.strerror(int(exc.args[0])).lower()
