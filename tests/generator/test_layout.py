"""Layouts of records."""

from hypothesis import given
from hypothesis import strategies as st

from traceleft.generator.layout import lay_out, member_name
from traceleft.record_layout import slots_offset

PATH = {"name": "filename", "index": 1, "kind": "path", "direction": "in", "at": "exit"}
LENGTH = {"name": "addrlen", "index": 2, "kind": "value", "direction": "inout", "at": "entry"}
FLAGS = {"name": "flags", "index": 0, "kind": "int"}

DIRECTIONS = st.sampled_from(["in", "out", "inout", None])
ARGUMENTS = st.lists(st.tuples(DIRECTIONS, st.sampled_from(["entry", "exit"])), max_size=64).map(
    lambda drawn: [
        {"name": f"a{index}", "index": index, "kind": "x"} | ({"direction": way, "at": at} if way else {})
        for index, (way, at) in enumerate(drawn)
    ]
)


def test_syscall_without_pointers_takes_128_bytes() -> None:
    layout, placed = lay_out(3, [FLAGS], args=6)

    assert (layout.fixed_size, layout.slots, placed) == (128, (), [FLAGS])


def test_slots_follow_the_arguments_in_order() -> None:
    layout, placed = lay_out(42, [FLAGS, PATH, LENGTH], args=6)

    assert [(slot.name, slot.offset, slot.at) for slot in layout.slots] == [
        ("filename", 128, "exit"),
        ("addrlen", 136, "entry"),
        ("addrlen_out", 144, "exit"),
    ]
    assert layout.fixed_size == 152
    assert [argument.get("slot") for argument in placed] == [None, 0, 1]
    assert placed[2]["slot_out"] == 2
    assert all("at" not in argument for argument in placed)


def test_digest_depends_on_the_id_and_on_the_arguments() -> None:
    digests = {
        lay_out(event_id, arguments, args=6)[0].digest
        for event_id in (1, 2)
        for arguments in ([PATH], [PATH | {"kind": "text"}], [PATH | {"at": "entry"}], [PATH | {"name": "path"}])
    }

    assert len(digests) == 8


@given(ARGUMENTS, st.integers(1, 64))
def test_slots_are_aligned_and_do_not_overlap(arguments: list[dict[str, object]], args: int) -> None:
    layout, placed = lay_out(1, arguments, args=args)

    offsets = [slot.offset for slot in layout.slots]
    assert offsets == list(range(slots_offset(args), layout.fixed_size, 8))
    assert layout.fixed_size % 8 == 0
    used = [argument[key] for argument in placed for key in ("slot", "slot_out") if key in argument]
    assert used == list(range(len(offsets)))


def test_name_that_c_or_the_record_has_taken_is_altered() -> None:
    names = ["filename", "args", "header", "int", "class", "linux", "EVENT", "__x"]

    assert [member_name(name) for name in names] == [
        *("filename", "args_", "header_", "int_", "class_", "linux_", "EVENT_", "__x_")
    ]


def test_no_two_slots_have_one_name() -> None:
    arguments = [LENGTH, PATH | {"name": "addrlen_out"}, PATH | {"name": "addrlen_out_"}]

    layout, _ = lay_out(1, arguments, args=6)

    assert len({slot.name for slot in layout.slots}) == len(layout.slots)
