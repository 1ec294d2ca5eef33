"""Floors: the oldest kernel that can load an object, from its bytes, and why."""

import dataclasses
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceleft.battery.builder.compiler import find_compiler, shared_flags
from traceleft.battery.level import LEVELS, find_level, sort_levels
from traceleft.battery.objects.elf import inspect_object
from traceleft.battery.objects.map_btf import Btf, has_core_relocations
from traceleft.battery.since import NEVER, Kernel
from traceleft.battery.verifier.floor import check_floor, find_floor, floor_of
from traceleft.errors import BatteryError

HEADER = """
#define SEC(name) __attribute__((section(name), used))
#define N(name, value) int (*name)[value]
typedef unsigned long long u64;
typedef unsigned int u32;
static u64 (*const pid_tgid)(void) = (void *)14;
static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const tail_call)(void *ctx, void *map, u32 index) = (void *)12;
struct { N(type, 1); N(max_entries, 4); u32 *key; u64 *value; } table SEC(".maps");
struct { N(type, 3); N(max_entries, 4); u32 *key; u32 *value; } programs SEC(".maps");
char LICENSE[] SEC("license") = "GPL";
"""
PROGRAM = 'SEC("kprobe") int kprobe_x(u64 *ctx) {{ {} return 0; }}'


@cache
def compiled(source: str, cpu: str = "v1") -> bytes:
    with TemporaryDirectory() as directory:
        (Path(directory) / "a.c").write_text(HEADER + source)
        output = Path(directory) / "a.o"
        flags = (*shared_flags("little"), f"-mcpu={cpu}", "-Wno-unused")
        find_compiler().compile(Path(directory), "a.c", output, flags=flags)
        return output.read_bytes()


def newest(source: str, cpu: str = "v1") -> tuple[str, str]:
    """Return the floor of a source, and the newest thing that it needs."""
    floor = find_floor(compiled(source, cpu))
    return str(floor.kernel), str(floor.reasons[0])


def body(text: str) -> str:
    return PROGRAM.format(text)


LOOP = "volatile u64 n = ctx[0], sum = 0; for (u64 i = 0; i < n; i++) { sum += i; }"
MANY = "volatile u64 x = 0; " + "x = 1; " * 4200
CALLED = "__attribute__((noinline)) static int part(u64 *ctx) {{ {} }}" + body("return part(ctx);").replace(
    "{", "{{"
).replace("}", "}}")


def test_plain_kprobe_program_loads_on_the_oldest_kernel() -> None:
    floor = find_floor(compiled(body("u32 k = 0; lookup(&table, &k); return pid_tgid();")))

    assert floor.kernel == Kernel(4, 4)
    assert floor.above(Kernel(4, 4)) == ()


@pytest.mark.parametrize(
    ("source", "cpu", "kernel", "reason"),
    [
        (body("((u64 (*)(void))35)();"), "v1", "4.8", "a call of get_current_task (helper 35)"),
        (body("((u64 (*)(void))180)();"), "v1", "5.17", "a call of find_vma (helper 180)"),
        (body("((u64 (*)(void))26)();"), "v1", "999.0", "a call of skb_load_bytes (helper 26), not for tracing"),
        (body("((u64 (*)(void))4000)();"), "v1", "999.0", "a call of helper 4000, which is not known"),
        (
            body("u64 x; ((long (*)(void *, u32, void *))114)(&x, 8, (void *)ctx[14]);"),
            "v1",
            "4.11",
            "a call of probe_read_user_str (helper 114)",
        ),
        (body(LOOP), "v1", "5.8", "program kprobe_x has a loop, which these rules do not follow"),
        (body(MANY), "v1", "5.2", "instructions"),
        (body("volatile u64 x = ctx[0]; if (x >= ctx[1]) x = pid_tgid();"), "v2", "4.14", "a jump on less"),
        (body("volatile u32 x = ctx[0]; if (x < (u32)ctx[1]) x = pid_tgid();"), "v3", "5.1", "a 32-bit jump"),
        (body("return __sync_fetch_and_or(ctx, 1);"), "v3", "5.12", "an atomic operation"),
        (body("u64 x = 0; __sync_fetch_and_add(&x, 1);"), "v1", "4.4", "map programs has the type prog array"),
        ("static u64 total; " + body("return total++;"), "v1", "5.8", "global data, which these rules do not"),
        (
            "static volatile const u64 limit = 3; " + body("return limit;"),
            "v1",
            "5.8",
            "global data, which these rules do not",
        ),
        (CALLED.format("return ctx[0] + pid_tgid();"), "v1", "5.8", "a call of another function, which these rules"),
        (
            CALLED.replace("static int part", "int part").format("return ctx[0];"),
            "v1",
            "5.8",
            "a call of another function",
        ),
        (CALLED.format("tail_call(ctx, &programs, 1); return 0;"), "v1", "5.10", "a tail call with calls"),
        ("extern void own(void); " + body("own();"), "v1", "5.13", "a call of a kernel function"),
        (body("").replace('"kprobe"', '"tp"'), "v1", "4.7", "the type tracepoint"),
        (body("").replace('"kprobe"', '"raw_tp/sys_exit"'), "v1", "4.17", "the type raw tracepoint"),
        (body("").replace('"kprobe"', '"fentry/x"'), "v1", "5.8", "the type fentry, which these rules do not follow"),
        (body("").replace('"kprobe"', '"tc"'), "v1", "999.0", "a section, tc, of an unknown type"),
        ('struct { N(type, 27); N(max_entries, 4096); } ring SEC(".maps");' + body(""), "v1", "5.8", "map ring has"),
        ('struct { N(type, 6); } each SEC(".maps");' + body(""), "v1", "4.6", "map each has the type per-CPU array"),
        (
            'struct { N(type, 1); N(map_flags, 1); } h SEC(".maps");' + body(""),
            "v1",
            "4.6",
            "the flag BPF_F_NO_PREALLOC",
        ),
        (
            'struct { N(type, 1); N(map_flags, 0x400000); } h SEC(".maps");' + body(""),
            "v1",
            "999.0",
            "the flag 0x400000",
        ),
        ('struct { N(type, 99); } later SEC(".maps");' + body(""), "v1", "999.0", "map later has the type 99"),
        (
            "struct task { int pid; } __attribute__((preserve_access_index));"
            + body("return ((struct task *)ctx)->pid;"),
            "v1",
            "5.4",
            "the object has the kernel's own BTF (CO-RE)",
        ),
    ],
    ids=lambda value: None if "(" in value else value,
)
def test_floor_is_that_of_the_newest_thing_needed(source: str, cpu: str, kernel: str, reason: str) -> None:
    found, why = newest(source, cpu)

    assert (found, reason in why) == (kernel, True), why


def test_frames_of_called_functions_add_up() -> None:
    deep = "volatile u64 deep[40]; deep[ctx[0] & 1] = 1;"
    called = CALLED.format(f"{deep} return deep[39];")

    alone = find_floor(compiled(body("volatile u64 deep[40]; deep[7] = 1;")))
    together = find_floor(compiled(called.replace("return part(ctx);", f"{deep} return part(ctx) + deep[39];")))

    assert alone.kernel == Kernel(4, 4)
    assert str(together.reasons[0]) == "program kprobe_x has 640 bytes on the stack of 512, which no kernel takes"


def test_frame_of_one_function_is_bounded_too() -> None:
    facts = inspect_object(compiled(body("")))
    program = dataclasses.replace(facts.programs[0], stack_bytes=520)

    assert floor_of(dataclasses.replace(facts, programs=(program,))).kernel == NEVER


def test_subprograms_count_with_each_program_that_calls_them() -> None:
    facts = inspect_object(compiled(CALLED.format("return ctx[0] + pid_tgid();")))

    assert [(program.name, program.helpers) for program in facts.programs] == [("kprobe_x", (14,))]
    assert facts.programs[0].instructions > 4


def test_uncalled_function_needs_nothing() -> None:
    unused = "__attribute__((noinline, used)) static int unused(u64 *ctx) { return ((u64 (*)(void))180)(); }"

    assert find_floor(compiled(unused + body(""))).kernel == Kernel(4, 4)


@pytest.mark.parametrize(
    ("source", "level", "complaint"),
    [
        (body("((u64 (*)(void))35)();"), "4.4", "get_current_task .helper 35., which needs 4.8; level 4.4 is for"),
        (body(LOOP), "4.18", "program kprobe_x has a loop.*, which needs 5.3; level 4.18 is for"),
        (body(MANY), "4.18", "instructions, which needs 5.2; level 4.18"),
        (body("((u64 (*)(void))26)();"), "5.8", "not for tracing, which no kernel takes; level 5.8"),
    ],
)
def test_object_that_needs_more_than_its_level_is_refused(source: str, level: str, complaint: str) -> None:
    with pytest.raises(BatteryError, match=complaint):
        check_floor(find_floor(compiled(source)), find_level(level))


def test_one_instruction_more_than_a_level_takes_is_refused() -> None:
    base = inspect_object(compiled(body("volatile u64 x = 0;"))).programs[0].instructions
    within, beyond = (
        find_floor(compiled(body("volatile u64 x = 0; " + "((u64 (*)(void))5)(); " * (limit - base))))
        for limit in (4096, 4097)
    )

    check_floor(within, find_level("4.18"))
    with pytest.raises(BatteryError, match=r"has 4097 instructions, which needs 5\.2; level 4\.18"):
        check_floor(beyond, find_level("4.18"))


def test_levels_are_ordered_by_their_kernels() -> None:
    assert sort_levels(["5.8", "4.4", "4.18", "4.11"]) == ("4.4", "4.11", "4.18", "5.8") == tuple(LEVELS)
    assert [level.flags[0] for level in LEVELS.values()] == ["-mcpu=v1", "-mcpu=v1", "-mcpu=v2", "-mcpu=v3"]


VERIFIED = """
static long (*const probe_read)(void *to, u32 size, const void *from) = (void *)4;
static long (*const update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const output)(void *ctx, void *map, u64 flags, void *data, u64 size) = (void *)25;
typedef unsigned char room_t[64];
struct call { u64 args[6]; room_t room; };
struct { N(type, 1); N(max_entries, 4); u32 *key; const volatile struct call *value; } calls SEC(".maps");
struct { N(type, 4); N(key_size, 4); N(value_size, 4); } events SEC(".maps");
struct record { u64 words[6]; char text[64]; };
#define keep(x) __asm__ volatile("" : "+r"(x))
"""
# A handler as level 4.4 has them: entry saved in a hash, a record on the stack, in one of two constant sizes.
ENTRY = "struct call call = {}; u32 k = pid_tgid(); call.args[0] = ctx[14]; update(&calls, &k, &call, 0);"
EXIT = """
u32 k = pid_tgid(); struct call *call = lookup(&calls, &k); if (!call) return 0;
struct record record = {}; record.words[0] = ctx[10];
for (int i = 1; i < 6; i++) record.words[i] = call->args[i];
void *from = (void *)call->args[0];
if (probe_read(record.text, 64, from)) output(ctx, &events, 0, &record, sizeof(record.words));
else output(ctx, &events, 0, &record, sizeof(record));
"""
VALUE = "u32 k = 0; struct call *call = lookup(&calls, &k); if (!call) return 0;"


@pytest.mark.parametrize(
    ("text", "kernel", "reason"),
    [
        (ENTRY, "4.4", ""),
        (EXIT, "4.4", ""),
        (
            VALUE + "probe_read(call->room, 64, (void *)ctx[14]);",
            "4.11",
            "program kprobe_x has a number that is not constant as the destination of probe_read (instruction ",
        ),
        (
            VALUE + "probe_read(call, 64, (void *)ctx[14]);",
            "4.11",
            "program kprobe_x has a map's value as the destination of probe_read (instruction ",
        ),
        (VALUE + "output(ctx, &events, 0, call, 48);", "4.11", "a map's value as the source of perf_event_output"),
        (VALUE + "update(&calls, &k, call, 0);", "4.18", "a map's value as the value of map_update_elem"),
        (
            "struct record r; probe_read(&r, sizeof(r), (void *)ctx[14]); output(ctx, &events, 0, &r, sizeof(r));",
            "4.9",
            "of the stack, not all of them written before, as the destination of probe_read",
        ),
        (
            "struct record r; r.words[0] = 1; output(ctx, &events, 0, &r, sizeof(r));",
            "5.8",
            "of the stack, not all of them written before, as the source of perf_event_output",
        ),
        (
            "struct record r = {}; u64 size = ctx[13] & 63; probe_read(r.text, size + 1, (void *)ctx[14]);",
            "4.11",
            "a number that is not constant as the size of probe_read",
        ),
        (
            "struct record r = {}; u64 size = 16; keep(size); probe_read(r.text, size, (void *)ctx[14]);",
            "4.4",
            "",
        ),
        (
            "struct record r = {}; r.text[ctx[13] & 63] = 1; output(ctx, &events, 0, &r, sizeof(r));",
            "5.8",
            "a place on the stack that is not known",
        ),
        (VALUE + "call->room[ctx[13] & 63] = 1;", "4.11", "a write through register "),
        (VALUE + "call->args[5] = pid_tgid(); call->room[63] = 1;", "4.4", ""),
        (VALUE + "*(u64 *)(call->room + 64) = 1;", "5.8", "8 bytes at up to 112 of a value of map calls"),
        (
            "u32 k = 0; struct call *call = lookup(&calls, &k), *same = call; keep(same); if (call) same->args[0] = 1;",
            "4.11",
            "which holds a map's value that may be null",
        ),
        (VALUE + "struct call *same = call; keep(same); same->args[0] = 1;", "4.4", ""),
        ("return ctx[21];", "5.8", "a read of 8 bytes at 168 of its context"),
    ],
)
def test_what_old_verifiers_refuse_makes_the_floor(text: str, kernel: str, reason: str) -> None:
    found, why = newest(VERIFIED + body(text))

    assert (found, reason in why) == (kernel, True), why


def test_level_of_old_kernels_names_what_they_refuse() -> None:
    floor = find_floor(compiled(VERIFIED + body(VALUE + "probe_read(call, 64, (void *)ctx[14]);")))

    check_floor(floor, find_level("4.11"))
    with pytest.raises(BatteryError, match=r"map's value as the destination .* needs 4\.11; level 4\.4 is for"):
        check_floor(floor, find_level("4.4"))


def test_every_refusal_below_a_kernel_is_told_once() -> None:
    text = "struct record r; probe_read(&r, sizeof(r), (void *)ctx[14]); return r.text[ctx[13] & 63];"

    floor = find_floor(compiled(VERIFIED + body(text)))

    told = [(str(each.kernel), each.what.split(" (")[0]) for each in floor.reasons if "instruction" in each.what]
    assert [kernel for kernel, _ in told] == ["5.8", "4.14", "4.11", "4.9"]
    assert "a place on the stack that is not known" in told[0][1]
    assert "a read through register" in told[2][1]
    assert "as the destination of probe_read" in told[3][1]


def test_program_that_needs_more_anyway_is_followed_no_further() -> None:
    floor = find_floor(compiled(VERIFIED + body(VALUE + "probe_read(call, 64, 0); ((u64 (*)(void))180)();")))

    assert str(floor.kernel) == "5.17"
    assert not any("destination" in each.what for each in floor.reasons)


def test_sizes_of_keys_and_values_are_those_of_their_types() -> None:
    source = VERIFIED + body("u32 k = 0; lookup(&calls, &k); output(ctx, &events, 0, &k, 4);")

    sizes = {each.name: (each.key_bytes, each.value_bytes) for each in inspect_object(compiled(source)).maps}

    assert sizes == {"calls": (4, 112), "events": (4, 4), "programs": (4, 4), "table": (4, 8)}


def test_programs_know_the_maps_that_they_load() -> None:
    facts = inspect_object(compiled(body("u32 k = 0; lookup(&table, &k); tail_call(ctx, &programs, 1);")))

    assert sorted(facts.programs[0].maps.values()) == ["programs", "table"]
    assert all(each.opcode == 0x18 for each in facts.programs[0].code if each.at in facts.programs[0].maps)


def sections_of(data: bytes) -> dict[str, tuple[int, int]]:
    """Return where each section's content lies: offset and size."""
    table, count, names_index = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 60)
    rows = [struct.unpack_from("<IIQQQQ", data, table + 64 * index) for index in range(count)]
    names = rows[names_index][4]
    return {data[names + row[0] : data.index(b"\0", names + row[0])].decode(): (row[4], row[5]) for row in rows}


def btf() -> bytes:
    data = compiled(body(LOOP))
    start, size = sections_of(data)[".BTF"]
    return data[start : start + size]


def test_maps_are_read_from_btf() -> None:
    maps = Btf(btf()).maps()

    assert [(each.name, each.type, each.flags) for each in maps] == [("programs", 3, 0), ("table", 1, 0)]


def test_longer_header_of_btf_is_honoured() -> None:
    data = btf()
    longer = data[:4] + struct.pack("<I", 32) + data[8:24] + bytes(8) + data[24:]

    assert Btf(longer).maps() == Btf(data).maps()


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "magic": lambda data: b"\0\0" + data[2:],
    "short header": lambda data: data[:4] + struct.pack("<I", 8) + data[8:],
    "types beyond": lambda data: data[:12] + struct.pack("<I", 1 << 31) + data[16:],
    "kind": lambda data: data[:24] + struct.pack("<II", 0, 31 << 24) + data[32:],
}


@pytest.mark.parametrize("change", CHANGES)
def test_damaged_btf_is_refused(change: str) -> None:
    with pytest.raises(ValueError):
        Btf(CHANGES[change](btf())).maps()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_arbitrary_change_of_btf_raises_nothing_else(data: st.DataObject) -> None:
    changed = bytearray(btf())
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    try:
        Btf(bytes(changed)).maps()
        has_core_relocations(bytes(changed))
    except ValueError as error:
        assert str(error).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_object_has_a_floor_or_is_refused_in_one_line(data: st.DataObject) -> None:
    changed = bytearray(compiled(CALLED.format("return ctx[0] + pid_tgid();")))
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))

    try:
        find_floor(bytes(changed))
    except BatteryError as error:
        assert str(error).isprintable()
