"""The battery of the running kernel, opened once, and the C programs that the tests trace."""

from pathlib import Path

import pytest

from tests.support.compiled import compile_programs
from traceleft.battery import Battery


@pytest.fixture(scope="session")
def battery(kernel_battery: Path) -> Battery:
    """Every syscall and some tracepoints of the running kernel."""
    return Battery.open(kernel_battery)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the compiled programs."""
    return compile_programs(tmp_path_factory.mktemp("programs"))
