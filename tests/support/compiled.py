"""The C programs that are traced."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.support.paths import TESTS

PROGRAMS: Final = TESTS / "programs"
# One without a C library, for what 64-bit machines lack of it.
BARE: Final = ("-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector")

# One whose functions all keep their frames.
FRAMED: Final = ("-O0", "-fno-omit-frame-pointer", "-static")


def compile_programs(place: Path) -> Path:
    """Compile ``hooks.c``, ``stacks.c``, ``live_*.c``, static: their start calls little; ``compat.c``, of 32 bits."""
    commands = [
        ["gcc", "-w", "-O1", "-static", "-pthread", "-o", place / source.stem, source]
        for source in (PROGRAMS / "hooks.c", *sorted(PROGRAMS.glob("live_*.c")))
    ]
    commands.append(["gcc", "-w", *BARE, "-o", place / "compat", PROGRAMS / "compat.c"])
    commands.append(["gcc", "-w", *FRAMED, "-o", place / "stacks", PROGRAMS / "stacks.c"])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda command: subprocess.run(command, check=True, timeout=120), commands))
    return place
