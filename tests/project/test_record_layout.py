"""One table says how a record is laid out: what else tells of it is made from it, or held against it."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from traceleft import record_layout
from traceleft.record_layout import HEADER, HEADER_BYTES, SLOT, STACK_IDS

# A row of the table in docs/reference/schema.md, section 2; a type of several fields has their number behind it.
ROW = re.compile(r"^\| (\d+) \| ([a-z]+\d*(?:\[\d+\])?)(?: \u00d7(\d))? \|", re.MULTILINE)
# The types of a header, spelled out for `struct`.
SPELLED_OUT = re.compile(r"IHHQII|QqQ")


def documented_header() -> list[tuple[int, str]]:
    """Return the offset and the type of each field that docs/reference/schema.md lists before the arguments."""
    _, _, section = (ROOT / "docs" / "reference" / "schema.md").read_text().partition("## 2. A record")
    fields = []
    for offset, kind, count in ROW.findall(section.partition("| u64[n] |")[0]):
        size = int(re.sub(r"\D", "", kind)) // 8
        fields += [(int(offset) + size * rank, kind) for rank in range(int(count or 1))]
    return fields


def test_table_is_what_the_documentation_says() -> None:
    made = [(each.offset, f"{each.type}[{each.count}]" if each.type == "char" else each.type) for each in HEADER.fields]

    assert made == documented_header()
    assert (HEADER_BYTES, SLOT.size, STACK_IDS.size) == (80, 8, 16)


def test_every_field_is_aligned_as_c_aligns_it() -> None:
    fields = [field for part in (HEADER, SLOT, STACK_IDS) for field in part.fields if field.type != "char"]

    assert [field.name for field in fields if field.offset % field.size] == []
    assert all(part.size % 8 == 0 for part in (HEADER, SLOT, STACK_IDS))


def test_flags_are_single_bits_that_do_not_meet() -> None:
    names = ("NO_RETURN", "NEW_STACK", "CLASS_1", "DURATION", "UNFINISHED", "UNSETTLED", "STACKS", "COUNTED")
    flags = [getattr(record_layout, name) for name in names]

    assert flags == [1 << bit for bit in range(len(flags))]
    assert sum(flags) + record_layout.SUBSTITUTES == 0xFFF


def test_picker_unpacks_the_fields_that_are_named() -> None:
    record = bytes(range(HEADER_BYTES))

    event, cpu, comm = HEADER.picker("event", "cpu", "comm").unpack(record)

    assert (event, cpu) == (int.from_bytes(record[4:6], sys.byteorder), int.from_bytes(record[20:24], sys.byteorder))
    assert comm == record[64:]


def test_header_of_the_native_module_is_made_from_the_table(tmp_path: Path) -> None:
    made = tmp_path / "record_layout.h"

    subprocess.run([sys.executable, str(ROOT / "scripts/make_record_header.py"), str(made)], check=True, timeout=60)

    assert made.read_text() == (ROOT / "tracer/native/record_layout.h").read_text(), "run `make golden`"


def test_no_source_spells_the_header_out_again() -> None:
    folders = ("traceleft", "generator", "battery", "tracer", "aggregator", "bench", "scripts", "tests", "examples")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    spelled = [str(path.relative_to(ROOT)) for path in files if SPELLED_OUT.search(path.read_text())]

    assert len(files) > 400
    assert spelled == ["tests/project/test_record_layout.py"]
