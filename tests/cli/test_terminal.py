"""What reaches a terminal: nothing raw that a name or a message holds, by whatever command; and no password."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_cli import traceleft
from tests.support.batteries import write_battery
from tests.support.paths import ROOT
from tests.support.recordings import calls, closed, write_recording
from traceleft.terminal import as_line, hide_credentials, printable

LAYERS = {"aggregator", "battery", "generator", "templates", "tracer"}
SNAPSHOT = ROOT / "tests" / "data" / "formats" / "6.18.44.json.xz"
BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
RAW = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])) + BIDIRECTIONAL + "\u2028\u2029\udc9b\ud800"
NAME = "x\x1b[2J\x9b1A\r\n\u202egnp\u2066\u2028\x07"


def test_whatever_moves_a_cursor_or_reorders_a_line_is_escaped() -> None:
    shown = [printable(each) for each in RAW]

    assert all(each.isascii() and each.isprintable() and each.startswith("\\") for each in shown)
    assert len({*shown}) == len(shown) - 1, "a stray byte is shown as its C1 control is"
    assert printable("a ä 日 ✓") == "a ä 日 ✓"


def test_message_becomes_one_line() -> None:
    assert as_line("a\n  b\r\nc\td\x1b[m\n") == r"a b c\td\x1b[m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:p@h:4318/x failed", "http://***@h:4318/x failed"),
        ("s3://key@bucket and https://a:b@c", "s3://***@bucket and https://***@c"),
        ("http://h/a@b", "http://h/a@b"),
        ("a@b", "a@b"),
    ],
)
def test_user_and_password_of_an_address_are_hidden(text: str, shown: str) -> None:
    assert hide_credentials(text) == shown


def writers(path: Path) -> Iterator[str]:
    """Yield the calls in a module that print past ``traceleft.terminal``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write"):
                yield f"{path.name}:{node.lineno}: {name}"


def test_commands_print_by_one_module_only() -> None:
    found = (path.relative_to(ROOT / "traceleft") for path in (ROOT / "traceleft").rglob("*.py"))
    modules = sorted(ROOT / "traceleft" / path for path in found if path.parts[0] not in LAYERS)

    assert len(modules) > 20
    assert [found for path in modules for found in writers(path)] == []


def test_module_that_prints_by_itself_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import sys\nprint(1)\nsys.stderr.write('a')\n")

    assert [*writers(tmp_path / "x.py")] == ["x.py:2: print", "x.py:3: sys.stderr.write"]


def assert_nothing_raw(done: subprocess.CompletedProcess[str], *, words: str = r"x\x1b[2J\x9b1A") -> None:
    for text in (done.stdout, done.stderr):
        assert all(line.isprintable() for line in text.split("\n")), text
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


REFUSED = {
    "replay": ["replay", NAME],
    "export": ["export", NAME, "-o", "out", "--format", "csv"],
    "report": ["report", NAME, "--html", "out.html"],
    "report of data": ["report", "--rollup", "syscalls", "--data", NAME],
    "stat": ["stat", "-i", NAME],
    "rollup": ["stat", "--rollup", f"{NAME}.toml", "-i", "sound.rec"],
    "rules": ["replay", "--rules", NAME, "sound.rec"],
    "generate": ["generate", "--formats", NAME, "-o", "out"],
    "configuration": ["generate", "--formats", str(SNAPSHOT), "--config", NAME, "-o", "out"],
    "build": ["build", NAME, "-o", "out"],
    "show": ["battery", "show", NAME],
    "verify": ["battery", "verify", NAME],
    "unpack": ["battery", "unpack", NAME, "-o", "out"],
    "diff": ["battery", "diff", "battery", NAME],
    "release": ["battery", "diff", "battery", f"battery@{NAME}"],
    "key": ["battery", "verify", "battery", "--key", NAME],
    "command": ["trace", "--", NAME],
    "event": ["replay", "-e", NAME, "sound.rec"],
    "option": ["replay", f"--{NAME}", "sound.rec"],
    "subcommand": [NAME],
    "sink": ["replay", "--sink", f"ndjson:{NAME}/x/y", "sound.rec"],
    "kind of sink": ["replay", "--sink", NAME, "sound.rec"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("place")
    write_recording(path / "sound.rec", calls(4))
    write_battery(path / "battery")
    (path / "file").write_text("")
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_name_is_refused_in_one_line(place: Path, name: str) -> None:
    done = traceleft(*REFUSED[name], cwd=place)

    assert_nothing_raw(done)
    assert done.returncode in (1, 2)
    assert len(done.stderr.split("\n")) == 2, done.stderr


DONE: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "verify": (write_battery, ["battery", "verify", NAME]),
    "show": (write_battery, ["battery", "show", NAME]),
    "pack": (lambda path: None, ["battery", "pack", "battery", "-o", NAME]),
    "doctor": (write_battery, ["doctor", "--battery", f"{NAME}/none"]),
}


@pytest.mark.parametrize("name", DONE)
def test_hostile_name_is_escaped_in_what_a_command_says(place: Path, tmp_path: Path, name: str) -> None:
    make, arguments = DONE[name]
    write_battery(tmp_path / "battery")
    make(tmp_path / NAME)

    assert_nothing_raw(traceleft(*arguments, cwd=tmp_path))


def test_hostile_name_of_a_task_is_escaped_in_an_alert(tmp_path: Path) -> None:
    write_recording(tmp_path / "rec", [closed(1, comm="x\x1b[2J\x9b1A\u202e".encode())])
    (tmp_path / "rules.toml").write_text('[rule.x]\nevents = ["close"]\nmessage = "{comm} closed"\n')

    done = traceleft("replay", "--rules", "rules.toml", "-o", "/dev/null", "rec", cwd=tmp_path)

    assert_nothing_raw(done, words=r"warning: x: x\x1b[2J\x9b1A\u202e closed")


def test_warning_of_a_library_is_one_line() -> None:
    warning = "lambda words, **_: warnings.warn(words[0])"
    code = f"import warnings; from traceleft.cli import main as cli; cli.invoke = {warning}; cli.main()"

    done = subprocess.run([sys.executable, "-c", code, NAME], capture_output=True, text=True, timeout=120)

    assert_nothing_raw(done)
    assert done.stderr.startswith("traceleft: warning: ")
