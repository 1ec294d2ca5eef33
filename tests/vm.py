"""The kernels that scripts/kernels.txt lists, and commands that run in them."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SCRIPT: Final = REPOSITORY / "scripts/vm.sh"
GUEST_S: Final = 1800
TAIL_CHARS: Final = 3000


def read_kernels() -> list[str]:
    """Return the names of the kernels, as listed: the oldest first."""
    lines = (REPOSITORY / "scripts/kernels.txt").read_text().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def choose_kernels(chosen: str) -> list[str]:
    """Return what ``--kernels`` chooses: all, ends (the oldest and the newest), or names with commas between."""
    kernels = read_kernels()
    if chosen == "all":
        return kernels
    if chosen == "ends":
        return list(dict.fromkeys((kernels[0], kernels[-1])))
    names = chosen.split(",")
    if unknown := set(names) - set(kernels):
        raise ValueError(f"--kernels: scripts/kernels.txt has no {', '.join(sorted(unknown))}")
    return names


def run_in(kernel: str, out: Path, command: str, *, root: Path = Path("/")) -> str:
    """Run a shell command in a kernel on the files of ``root``, with ``out`` as /mnt; what it printed.

    One that fails, or no boot, raises.
    """
    began = time.monotonic()
    done = subprocess.run(
        [SCRIPT, kernel, out, command],
        capture_output=True,
        text=True,
        timeout=GUEST_S + 60,
        env={"VM_TIMEOUT": str(GUEST_S), **os.environ, "VM_ROOT": str(root)},
    )
    log = (out / "log").read_text(errors="replace") if (out / "log").exists() else ""
    if done.returncode != 0:
        console = (out / "console").read_text(errors="replace") if (out / "console").exists() else ""
        told = "\n".join(text[-TAIL_CHARS:] for text in (done.stderr, console, log))
        raise AssertionError(f"{kernel}: status {done.returncode} after {time.monotonic() - began:.0f} s\n{told}")
    return log
