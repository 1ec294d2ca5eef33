"""Asks clang what the UAPI headers define: names of constants, their values, debug data."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

SOURCE: Final = Path(__file__).parent / "uapi" / "uapi.h"

_MACRO = re.compile(r"^#define (\w+) \S", re.MULTILINE)
_SYSCALL = re.compile(r"^#define __NR_(\w+) (\d+)$", re.MULTILINE)
_ERROR = re.compile(r"values\.h:(\d+):\d+: error: (.*)")


class Headers:
    """The UAPI headers below a directory, as scripts/fetch_uapi.sh leaves them."""

    def __init__(self, root: Path) -> None:
        usr = root / "usr"
        # Debian's newer packages keep each machine's asm/ apart from /usr/include.
        places = (usr / "lib/linux/uapi/x86", usr / "include/x86_64-linux-gnu")
        asm = next((path for path in places if (path / "asm/errno.h").exists()), None)
        if asm is None:
            raise SystemExit(f"{root}: no UAPI headers for x86_64; fetch them with scripts/fetch_uapi.sh {root}")
        compiler = Path(_run(["clang", "-print-resource-dir"]).strip()) / "include"
        self._asm = asm
        self._flags = ["-nostdinc", *(f"-isystem{path}" for path in (usr / "include", asm, compiler))]

    def syscalls(self) -> dict[str, int]:
        """Return number by UAPI name."""
        text = (self._asm / "asm/unistd_64.h").read_text()
        return {name: int(number) for name, number in _SYSCALL.findall(text)}

    def macros(self, header: str | None = None) -> list[str]:
        """Return the macros without parameters of one header, or of all."""
        source = f"#include <{header}>\n" if header else SOURCE.read_text()
        text = _run(["clang", "-E", "-dM", *self._flags, "-x", "c", "-"], source)
        return sorted(set(_MACRO.findall(text)))

    def compile(self, output: Path) -> None:
        """Compile all headers into an object with the debug data of every type, used or not."""
        options = ["-gdwarf-4", "-fno-eliminate-unused-debug-types", "-c", "-x", "c"]
        _run(["clang", *self._flags, *options, str(SOURCE), "-o", str(output)])

    def evaluate(self, expressions: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """Return the values of C expressions, and why the rest has none."""
        wanted = sorted(set(expressions))
        with TemporaryDirectory() as directory:
            refused = self._refused(wanted, Path(directory))
            valid = [expression for expression in wanted if expression not in refused]
            return self._values(valid, Path(directory)), refused

    def _refused(self, expressions: list[str], directory: Path) -> dict[str, str]:
        lines = [f"static const long long v{i} = (({text}));\n" for i, text in enumerate(expressions)]
        (directory / "values.h").write_text("".join(lines))
        source = f'#include "{SOURCE}"\n#include "values.h"\n'
        options = ["-fsyntax-only", "-ferror-limit=0", "-Werror=int-conversion", f"-I{directory}", "-x", "c", "-"]
        command = ["clang", *self._flags, *options]
        result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        errors = {int(line): message for line, message in _ERROR.findall(result.stderr)}
        if result.returncode != 0 and not errors:
            raise SystemExit(result.stderr)
        return {expressions[line - 1]: message for line, message in errors.items()}

    def _values(self, expressions: list[str], directory: Path) -> dict[str, int]:
        prints = "".join(f'\tprintf("%lld\\n", (long long)({text}));\n' for text in expressions)
        head = f'#include "{SOURCE}"\nint printf(const char *, ...);\n'
        source = f"{head}int main(void)\n{{\n{prints}\treturn 0;\n}}\n"
        program = directory / "values"
        _run(["clang", "-w", *self._flags, "-x", "c", "-", "-o", str(program)], source)
        return dict(zip(expressions, map(int, _run([str(program)]).split()), strict=True))


def _run(command: list[str], source: str = "") -> str:
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{command[0]}: {result.stderr}")
    return result.stdout
