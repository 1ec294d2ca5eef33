"""The kernels that are booted, and commands that run in them.

They are those of scripts/kernels.txt, or, where TRACELEFT_KERNELS names a directory, the images in it and below.
"""

import os
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT
from traceleft.battery.guest.kernel_image import find_images

SCRIPT: Final = ROOT / "scripts/vm.sh"
VARIABLE: Final = "TRACELEFT_KERNELS"
GUEST_S: Final = 3600
TAIL_CHARS: Final = 3000
# Each keeps one CPU of this machine busy.
GUESTS_MAX: Final = 2
# Below 5.8 no more than eight variables are seen of an exec's environment.
PYTHON: Final = f"cd {ROOT} && env -i PATH=$PATH PYTHONPATH={ROOT} {sys.executable}"


@cache
def read_images() -> dict[str, Path]:
    """Return the images of the directory that TRACELEFT_KERNELS names, by release, the oldest first."""
    directory = os.environ.get(VARIABLE)
    return find_images(Path(directory).resolve()) if directory else {}


def read_kernels() -> list[str]:
    """Return the names of the kernels that there are: the oldest first."""
    if images := read_images():
        return list(images)
    lines = (ROOT / "scripts/kernels.txt").read_text().splitlines()
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
        place = os.environ.get(VARIABLE) or "scripts/kernels.txt"
        raise ValueError(f"--kernels: {place} has no {', '.join(sorted(unknown))}")
    return names


def run_in(kernel: str, out: Path, command: str, *, root: Path = Path("/")) -> str:
    """Run a shell command in a kernel on the files of ``root``, with ``out`` as /mnt; return what it printed.

    AssertionError where it fails, or the kernel does not boot.
    """
    began = time.monotonic()
    done = subprocess.run(
        [SCRIPT, read_images().get(kernel, kernel), out, command],
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
