"""Draw the diagrams of docs/concepts.

usage: python scripts/draw_concepts.py [DIR]
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from svg import SOFT, Drawing

PLACE: Final = Path(__file__).resolve().parent.parent / "docs" / "concepts"


def pipeline() -> Drawing:
    """What leads from the kernel's formats to events."""
    drawing = Drawing(860, 250, "From event formats to events")
    drawing.frame(10, 10, 520, 150, "once, on any machine with clang")
    drawing.box(30, 60, 130, 60, ["formats", "what calls take"], fill="yellow")
    drawing.box(220, 60, 120, 60, ["sources", "C handlers, schema"], fill="grey")
    drawing.box(390, 60, 120, 60, ["objects", "eBPF programs"], fill="grey")
    drawing.arrow((160, 90), (218, 90), words="generate")
    drawing.arrow((340, 90), (388, 90), words="build")
    drawing.box(560, 50, 130, 80, ["battery", "objects, schemas,", "manifest"], fill="blue")
    drawing.arrow((510, 90), (558, 90))
    drawing.frame(540, 160, 310, 80, "")
    drawing.text(840, 178, "often, on the traced machine", size=12, colour=SOFT, anchor="end")
    drawing.box(560, 190, 80, 40, ["programs"], fill="green")
    drawing.box(660, 190, 80, 40, ["records"], fill="green")
    drawing.box(760, 190, 80, 40, ["events"], fill="green")
    drawing.arrow((600, 130), (600, 188))
    drawing.text(606, 152, "load, attach", size=11, colour=SOFT, anchor="start")
    drawing.arrow((640, 210), (658, 210))
    drawing.arrow((740, 210), (758, 210))
    return drawing


def battery() -> Drawing:
    """What a battery holds, and what names what."""
    drawing = Drawing(760, 260, "What a battery holds")
    drawing.box(20, 100, 150, 70, ["manifest.sig", "signs the manifest", "(if you want)"], fill="violet")
    drawing.box(240, 90, 170, 90, ["manifest.json", "names every file", "by its digest"], fill="blue")
    drawing.box(510, 20, 230, 60, ["schemas/", "one for each kernel release"], fill="yellow")
    for place, (name, levels) in enumerate((("openat", "5.8"), ("openat", "4.4, 4.11, 4.18"), ("read", "5.8"))):
        drawing.box(510, 100 + place * 50, 230, 42, [f"objects/…/{name}", f"for level {levels}"], fill="green")
    drawing.arrow((170, 135), (238, 135))
    drawing.arrow((410, 120), (508, 52))
    for place in range(3):
        drawing.arrow((410, 140 + place * 8), (508, 121 + place * 50))
    return drawing


def level() -> Drawing:
    """Which kernels belong to which level, and what each adds."""
    drawing = Drawing(860, 230, "Four levels")
    added = {
        "4.4": ("kprobes,", "perf buffer"),
        "4.11": ("tracepoints,", "long strings"),
        "4.18": ("raw tracepoints,", "cgroup ids"),
        "5.8": ("ring buffer,", "loops"),
    }
    for place, (name, words) in enumerate(added.items()):
        left = 20 + place * 205
        fill = ("grey", "yellow", "green", "blue")[place]
        drawing.box(left, 40, 190, 70, [f"level {name}", *words], fill=fill)
    drawing.arrow((20, 150), (845, 150))
    for x, name in ((20, "Linux 4.4"), (225, "4.11"), (430, "4.18"), (635, "5.8")):
        drawing.shapes.append(f'<path d="M{x} 144 v12" stroke="{SOFT}"/>')
        drawing.text(x, 174, name, size=12, anchor="start")
    drawing.text(840, 174, "newest", size=12, anchor="end")
    drawing.text(20, 210, "A kernel can use its own level and every level to the left of it.", size=12, anchor="start")
    return drawing


def hook() -> Drawing:
    """Where each hook sees a syscall."""
    drawing = Drawing(860, 330, "Where each hook sees a syscall")
    drawing.frame(10, 10, 840, 70, "program")
    drawing.box(330, 30, 200, 40, ['openat("note")'], fill="grey")
    drawing.frame(10, 100, 840, 220, "kernel")
    drawing.box(40, 180, 150, 60, ["entry", "number, arguments"], fill="blue")
    drawing.box(345, 180, 170, 60, ["__x64_sys_openat", "does the work"], fill="yellow")
    drawing.box(670, 180, 150, 60, ["exit", "the result"], fill="blue")
    drawing.arrow((380, 70), (115, 178))
    drawing.arrow((190, 210), (343, 210))
    drawing.arrow((515, 210), (668, 210))
    drawing.arrow((745, 178), (480, 72))
    drawing.text(115, 268, "raw_tracepoint sys_enter", size=12)
    drawing.text(115, 288, "tracepoint sys_enter_openat", size=12)
    drawing.text(430, 268, "kprobe at its beginning,", size=12)
    drawing.text(430, 288, "kretprobe at its end", size=12)
    drawing.text(735, 268, "raw_tracepoint sys_exit", size=12)
    drawing.text(735, 288, "tracepoint sys_exit_openat", size=12)
    return drawing


def ledger() -> Drawing:
    """Where on their way events are counted."""
    drawing = Drawing(860, 240, "Where each figure of the ledger is counted")
    stations = [
        (20, "program", "in the kernel", "green"),
        (240, "buffer", "shared memory", "grey"),
        (460, "reader", "traceleft", "blue"),
        (680, "you", "text, JSON, callback", "yellow"),
    ]
    for x, name, words, fill in stations:
        drawing.box(x, 60, 150, 60, [name, words], fill=fill)
    for x, words in ((170, "emitted"), (390, ""), (610, "delivered")):
        drawing.arrow((x, 90), (x + 68, 90), words=words)
    drawing.arrow((205, 92), (205, 168))
    drawing.text(205, 188, "lost", bold=True)
    drawing.text(205, 206, "the buffer is full", size=11, colour=SOFT)
    drawing.arrow((500, 120), (460, 168))
    drawing.text(440, 188, "undecodable", bold=True)
    drawing.text(440, 206, "the decoder refuses", size=11, colour=SOFT)
    drawing.arrow((570, 120), (620, 168))
    drawing.text(640, 188, "dropped", bold=True)
    drawing.text(640, 206, "no room on the disk", size=11, colour=SOFT)
    drawing.text(95, 40, "missed: never a record", size=11, colour=SOFT)
    drawing.text(430, 230, "unaccounted = emitted - delivered - lost - dropped - undecodable", size=12)
    return drawing


def recording() -> Drawing:
    """What a recording is made of."""
    drawing = Drawing(860, 180, "What a recording is made of")
    parts = [
        ("head", ("schema, host,", "kernel, command"), "blue"),
        ("records", ("compressed,", "with checksums"), "green"),
        ("cgroups, stacks", ("what ids in", "records mean"), "yellow"),
        ("records", ("in the order of", "their delivery"), "green"),
        ("end", ("the ledger",), "violet"),
    ]
    for place, (name, words, fill) in enumerate(parts):
        drawing.box(20 + place * 165, 30, 150, 80, [name, *words], fill=fill)
    for place in range(4):
        drawing.arrow((170 + place * 165, 70), (183 + place * 165, 70))
    drawing.text(20, 145, "If a block is damaged, all blocks before it can be read.", size=12, anchor="start")
    return drawing


DRAWINGS: Final[dict[str, Callable[[], Drawing]]] = {
    "pipeline": pipeline,
    "battery": battery,
    "level": level,
    "hook": hook,
    "ledger": ledger,
    "recording": recording,
}


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PLACE
    for name, draw in DRAWINGS.items():
        (target / f"{name}.svg").write_text(draw().render())
