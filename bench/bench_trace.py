"""Measure a trace: events a second that reach the reader, and what a traced call costs its caller.

usage, as root: python bench/bench_trace.py [BATTERY]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALLS = 200_000
PROGRAM = """
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(void) {
	for (int i = 0; i < %d; i++)
		close(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0));
	return 0;
}
"""


def compile_program(directory: Path) -> Path:
    """Compile the program that opens a file again and again."""
    source, program = directory / "opens.c", directory / "opens"
    source.write_text(PROGRAM % CALLS)
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    return program


def time_run(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    begun = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - begun


def trace(program: Path, battery: str, directory: Path, *options: str) -> tuple[float, dict[str, int]]:
    """Trace the program and return the seconds that all of it took, and the account."""
    ledger = directory / "ledger"
    command = [sys.executable, "-m", "traceleft", "trace", "--battery", battery, "--ledger", str(ledger)]
    seconds = time_run([*command, "-e", "openat", "-o", "/dev/null", *options, "--", str(program)])
    return seconds, json.loads(ledger.read_text())


def main() -> None:
    """Print a line for each way to trace."""
    battery = sys.argv[1] if len(sys.argv) > 1 else "build/battery"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = compile_program(directory)
        print(f"untraced                 {time_run([str(program)]):6.2f} s for {CALLS:,} openat")
        for title, options in {"text": [], "json": ["--format", "json"], "counted (-c)": ["-c"]}.items():
            seconds, ledger = trace(program, battery, directory, *options)
            counts = ", ".join(f"{ledger[key]:,} {key}" for key in ("emitted", "delivered", "lost", "dropped"))
            print(f"{title:<24} {seconds:6.2f} s, {counts}")


if __name__ == "__main__":
    main()
