"""Compile the benchmark's own programs: the calls, the floor, what helpers cost."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
MULTIARCH: Final = "/usr/include/x86_64-linux-gnu"
GCC: Final = ("gcc", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter")


def compile_programs(directory: Path) -> None:
    """Compile all into a directory; raise ``CalledProcessError`` where a compiler fails."""
    for source in sorted((HERE / "programs").glob("*.c")):
        _run([*GCC, "-static", "-pthread", "-o", str(directory / source.stem), str(source)])
    floor = HERE / "floor"
    target = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I{MULTIARCH}", "-Wall"]
    for name in ("floor", "helpers"):
        _run([*GCC, "-o", str(directory / name), str(floor / f"{name}.c"), "-lbpf"])
        _run([*target, "-c", str(floor / f"{name}.bpf.c"), "-o", str(directory / f"{name}.bpf.o")])


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)
