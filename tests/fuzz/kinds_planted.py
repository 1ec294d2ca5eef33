"""Faults that are planted: what the harness has to find."""

import os
import time
from pathlib import Path
from random import Random

from tests.fuzz.kinds import Case, kind
from tests.fuzz.worker import MEMORY_BYTES

FAULTY = 2


def _at(fault: Case) -> Case:
    """Return what runs cases, one of them faulty."""
    cases = iter(range(FAULTY + 1))

    def run(random: Random) -> None:
        if next(cases, None) == FAULTY:
            fault(random)

    return run


@kind("planted-traceback", 0)
def raising(directory: Path) -> Case:
    return _at(lambda random: [][1])


@kind("planted-crash", 0)
def crashing(directory: Path) -> Case:
    return _at(lambda random: os.kill(os.getpid(), 11))


@kind("planted-memory", 0)
def greedy(directory: Path) -> Case:
    return _at(lambda random: b"x" * (MEMORY_BYTES + (64 << 20)))


@kind("planted-computing", 0)
def computing(directory: Path) -> Case:
    def compute(random: Random) -> None:
        while True:
            pass

    return _at(compute)


@kind("planted-waiting", 0)
def waiting(directory: Path) -> Case:
    return _at(lambda random: time.sleep(100_000))
