"""What a guest's console says of its end, in one line."""

import re
from typing import Final

from traceleft.battery.manifest import one_line

# What the kernel prints, and what it means for who gave the kernel. The first that is found is reported.
MEANINGS: Final = (
    ("Initramfs unpacking failed", "the kernel cannot unpack the initial RAM disk"),
    ("Unable to mount root fs", "the kernel takes no initial RAM disk; it needs CONFIG_BLK_DEV_INITRD"),
    ("No working init found", "the kernel does not run this machine's Python; it needs CONFIG_BINFMT_ELF"),
)
# What a kernel prints when it fails, the most telling first.
FAILURES: Final = ("BUG: ", "general protection", "Oops", "Kernel panic")
# Where it was: "RIP: 0010:check_map_access+0x10/0x20", on older kernels with addresses before the name.
_PLACE: Final = re.compile(r"RIP: .*?\b([A-Za-z_][\w.]*\+0x[0-9a-f]+)")
# A time or a level before what is said.
_STAMP: Final = re.compile(r"^(?:<\d>)?(?:\[ *\d+\.\d+\] ?)?")


def last_words(console: bytes) -> str:
    """Return the line that tells why a guest ended, with what is known of it; nothing if the console is empty.

    A line of JSON is not the kernel's.
    """
    lines = [_STAMP.sub("", line.strip()) for line in console.decode(errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("{")]
    for sign, meaning in MEANINGS:
        if found := _find(lines, sign):
            return f"{meaning} ({one_line(found)})"
    for sign in FAILURES:
        if found := _find(lines, sign):
            place = next((match[1] for line in lines if (match := _PLACE.search(line))), "")
            return one_line(found) + (f" in {one_line(place)}" if place else "")
    return one_line(lines[-1]) if lines else ""


def is_conclusive(words: str) -> bool:
    """Tell whether a kernel would end for the same reason on any other machine."""
    return any(words.startswith(meaning) for _, meaning in MEANINGS)


def _find(lines: list[str], sign: str) -> str:
    return next((line for line in lines if sign in line), "")
