"""Check the commits of a change: `area: imperative`, at most 72 characters, and a body that says why.

    scripts/check_commits.py [BASE]

Commits from before BASE (default: where these rules began) are left as they are. Exits with 1, and a line for each
mistake, if a commit breaks a rule.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGAN = "44cc48ab3b05272653ec98275a5e49c9169a93cc"
SUBJECT_MAX = 72
BODY_MAX = 76
_SUBJECT = re.compile(r"[a-z0-9][a-z0-9_./, -]*: [a-z0-9`\"'*-].*[^.\s]")


def mistakes_of(message: str) -> Iterator[str]:
    """Yield what is wrong with a commit's message."""
    subject, _, body = message.strip().partition("\n")
    if not _SUBJECT.fullmatch(subject):
        yield "the subject is not `area: imperative, lower-case, no dot`"
    if len(subject) > SUBJECT_MAX:
        yield f"the subject has {len(subject)} characters, more than {SUBJECT_MAX}"
    if not body.strip():
        yield "there is no body that says why"
    if body and not body.startswith("\n"):
        yield "the second line is not empty"
    if any(len(line) > BODY_MAX and " " in line.strip() for line in body.splitlines()):
        yield f"a line of the body is longer than {BODY_MAX} characters"


def run_git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main(words: Sequence[str]) -> int:
    base = words[0] if words else BEGAN
    try:
        commits = run_git("rev-list", "--no-merges", f"{base}..HEAD").split()
    except subprocess.CalledProcessError:
        print(f"commits: the history here does not reach back to {base[:12]}: not checked")
        return 0
    found = [
        (commit, mistake) for commit in commits for mistake in mistakes_of(run_git("log", "-1", "--format=%B", commit))
    ]
    for commit, mistake in found:
        print(f"{commit[:12]}: {mistake}", file=sys.stderr)
    print(f"commits: {len(commits)} checked, {len(found)} mistakes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
