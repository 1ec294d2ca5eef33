"""Which battery a trace uses: the one that was named, one that is found, or one made for the running kernel."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from traceleft.cli_build import DEFAULT_BATTERY, progress_bar
from traceleft.errors import BatteryError, TraceleftError

if TYPE_CHECKING:
    from traceleft.battery import Battery

VARIABLE = "TRACELEFT_BATTERY"
LEVEL = "5.8"


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/traceleft``; a relative path in the variable counts as unset."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".cache") / "traceleft"


def named_battery(option: Path | None) -> Path | None:
    """Return the battery that the option or the environment names; nothing else is used then."""
    variable = os.environ.get(VARIABLE)
    return option or (Path(variable) if variable else None)


def find_battery(option: Path | None) -> "Battery | None":
    """Open the battery to use for the running kernel, or return None if one has to be made.

    A named one that is missing, damaged or unfit is a BatteryError; one that was only found is passed over, with a
    notice.
    """
    if named := named_battery(option):
        return open_fitting(named)
    for path in (DEFAULT_BATTERY, cache_directory() / "battery"):
        if (battery := consider(path)) is not None:
            return battery
    return None


def consider(path: Path) -> "Battery | None":
    """Open a battery that nobody named, if it is there, trusted and fits."""
    from traceleft.battery.store import is_trusted

    if not path.exists():
        return None
    if not is_trusted(path):
        notice(f"{path} is passed over: others can write to it; --battery {path} uses it all the same")
        return None
    try:
        return open_fitting(path)
    except TraceleftError as error:
        notice(f"{error}; passed over")
        return None


def open_fitting(path: Path) -> "Battery":
    """Open a battery and make sure that it has something for the running kernel."""
    from traceleft.battery import Battery

    battery = Battery.open(path)
    battery.select(os.uname().release)
    return battery


def make_battery() -> "Battery":
    """Generate and build a battery for the running kernel in the user's cache, once at a time; open it."""
    if shutil.which("clang") is None:
        raise BatteryError(
            f"no battery fits kernel {os.uname().release}, and clang is not here to build one: "
            "apt install clang llvm libbpf-dev, or name one with --battery"
        )
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / "battery"
    with locked(directory / "lock"):
        if (made_meanwhile := consider(path)) is not None:
            return made_meanwhile
        build_for_this_kernel(path)
    return open_fitting(path)


def build_for_this_kernel(path: Path) -> None:
    """Generate every syscall and tracepoint of the running kernel and build it into the battery at ``path``."""
    from traceleft.battery.builder import build
    from traceleft.generator import generate

    notice(f"no battery fits kernel {os.uname().release}: making {path}")
    with tempfile.TemporaryDirectory(prefix="generate-", dir=path.parent) as work:
        generate(None, expressions=(), config=None, output=Path(work) / "source")
        with progress_bar("building") as progress:
            build(Path(work) / "source", path, levels=(LEVEL,), jobs=None, progress=progress)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; others that want it wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def notice(text: str) -> None:
    """Print one line on stderr."""
    print(f"traceleft: {text}", file=sys.stderr)
