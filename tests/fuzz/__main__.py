"""``python -m tests.fuzz --cases 100000``: fuzz all kinds, or some, and print what was found."""

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.harness import Report, fuzz
from tests.fuzz.kinds import all_kinds, fuzzed_kinds


def main() -> int:
    """Run the cases; the status is 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many in all (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same cases (default: 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case, to see one again")
    parser.add_argument("--kind", action="append", choices=fuzzed_kinds(), help="only this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="kinds at a time (default: 1)")
    options = parser.parse_args()
    chosen = {name: all_kinds()[name][1] for name in options.kind or fuzzed_kinds()}
    whole = sum(chosen.values())

    def run(name: str) -> Report:
        count = max(round(options.cases * chosen[name] / whole), 1)
        with tempfile.TemporaryDirectory(prefix="traceleft-fuzz-") as directory:
            report = fuzz(name, Path(directory), seed=options.seed, first=options.first, count=count)
        show(report)
        return report

    with ThreadPoolExecutor(options.jobs) as pool:
        reports = [*pool.map(run, chosen)]
    print(
        f"{sum(report.cases for report in reports)} cases, {sum(len(report.findings) for report in reports)} findings"
    )
    return int(any(report.findings for report in reports))


def show(report: Report) -> None:
    """Print what came of a kind; of findings that end alike the first."""
    rate = report.cases / max(report.seconds, 0.001)
    print(
        f"{report.kind}: {report.cases} cases, {report.refused} refused, {len(report.findings)} findings, "
        f"at most {report.peak_bytes >> 20} MiB, {rate:.0f} a second",
        flush=True,
    )
    alike = Counter(last_words(finding.text) for finding in report.findings)
    for words, count in alike.most_common():
        finding = next(each for each in report.findings if last_words(each.text) == words)
        print(f"-- {count} times, as case {finding.case}: {finding.what}\n{finding.text}", flush=True)


def last_words(text: str) -> str:
    """Return where an exception came from."""
    places = [line.strip() for line in text.split("\n") if line.strip().startswith("File ")]
    return places[-1] if places else text


if __name__ == "__main__":
    sys.exit(main())
