"""Make tracer/native/record_layout.h from traceleft/record_layout.py.

usage: python scripts/make_record_header.py [FILE]
"""

import sys
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from traceleft import record_layout
from traceleft.linux import MAX_ERROR

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "tracer" / "native" / "record_layout.h"
TEMPLATE = Path(__file__).with_name("record_layout.h.j2")
FLAGS = ("NO_RETURN", "NEW_STACK", "CLASS_1", "DURATION", "UNFINISHED", "UNSETTLED", "STACKS", "COUNTED")


def record_header() -> str:
    """Return the header's text."""
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    parts = {"header": record_layout.HEADER, "slot": record_layout.SLOT}
    return environment.from_string(TEMPLATE.read_text()).render(
        layout=record_layout, parts=parts, flags=FLAGS, max_error=MAX_ERROR
    )


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else HEADER).write_text(record_header())
