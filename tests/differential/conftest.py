"""Show the table of what was compared at the end of the run."""

import pytest

from tests.differential.report import OUTCOMES, show_report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, if there is one."""
    if outcomes := config.stash.get(OUTCOMES, []):
        terminalreporter.section("traceleft and strace")
        terminalreporter.write_line(show_report(outcomes))
