"""Which functions a kernel sets no kprobe on, as tracefs tells."""

from pathlib import Path

from traceleft.tracer.kprobes import find_refused


def make_tracefs(path: Path, *, takes: bool) -> Path:
    """Make the two files that are looked at: one that takes every line or none, one that names functions."""
    (path / "available_filter_functions").write_text("__x64_sys_openat\next4_sync [ext4]\n")
    events = path / "kprobe_events"
    events.touch() if takes else events.symlink_to("/dev/full")
    return events


def test_function_that_ftrace_does_not_name_is_tried(tmp_path: Path) -> None:
    events = make_tracefs(tmp_path, takes=True)

    assert find_refused(["__x64_sys_openat", "__x64_sys_getpid"], events) == frozenset()
    made, removed = events.read_text().splitlines()
    assert made.startswith("p:kprobes/traceleft_") and made.endswith("__x64_sys_getpid __x64_sys_getpid")
    assert removed == made.partition(" ")[0].replace("p:", "-:")


def test_function_that_the_kernel_does_not_take_is_refused(tmp_path: Path) -> None:
    events = make_tracefs(tmp_path, takes=False)

    assert find_refused(["__x64_sys_openat", "__x64_sys_perf_event_open"], events) == {"__x64_sys_perf_event_open"}


def test_nothing_is_refused_where_it_cannot_be_tried(tmp_path: Path) -> None:
    assert find_refused(["__x64_sys_getpid"], tmp_path / "kprobe_events") == frozenset()
