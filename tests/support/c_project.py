"""A small C project: twelve sources, a main program, and a Makefile."""

from pathlib import Path

PARTS = 12


def write_project(directory: Path) -> Path:
    """Write the project into a directory, which is returned; ``make`` builds ``program`` there."""
    directory.mkdir()
    for part in range(PARTS):
        text = f"#include <stdio.h>\n\nint part{part}(int x)\n{{\n\treturn x * {part + 1} + (int)sizeof(FILE);\n}}\n"
        (directory / f"part{part}.c").write_text(text)
    declared = "".join(f"int part{part}(int x);\n" for part in range(PARTS))
    called = " + ".join(f"part{part}(1)" for part in range(PARTS))
    (directory / "main.c").write_text(f"{declared}\nint main(void)\n{{\n\treturn {called} == 0;\n}}\n")
    objects = " ".join(f"part{part}.o" for part in range(PARTS))
    rules = f"program: main.o {objects}\n\t$(CC) -o $@ $^\n\n%.o: %.c\n\t$(CC) -O1 -c -o $@ $<\n"
    (directory / "Makefile").write_text(rules)
    return directory


def clean_project(directory: Path) -> None:
    """Remove what ``make`` made."""
    for path in (*directory.glob("*.o"), directory / "program"):
        path.unlink(missing_ok=True)
