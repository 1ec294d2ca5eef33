"""What the kernel's helpers take here, by themselves: where a traced call's time goes."""

import subprocess

from bench.tools import Place


def measure_helpers(place: Place, rounds: int) -> dict[str, float]:
    """Return nanoseconds a call, the least of all rounds, by what is called."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        command = [str(place.programs / "helpers"), str(place.programs / "helpers.bpf.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            name, ns = line.split()
            best[name] = min(float(ns), best.get(name, float(ns)))
    return best
