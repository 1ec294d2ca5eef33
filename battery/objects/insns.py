"""eBPF instructions, decoded: what a run of them calls and needs."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from traceleft.battery.objects.flow import has_loop, unreached

INSTRUCTION_BYTES: Final = 8
LOAD_IMM64: Final = 0x18
CALL: Final = 0x85
EXIT: Final = 0x95
JUMPS_ALWAYS: Final = {0x05, 0x06}
# The source register of a call tells what is called.
HELPER, PROGRAM, KFUNC = 0, 1, 2
# That of a 64-bit load, what is loaded: a number, a map, a map's value, …; relocations say it of objects on disk.
LOADS: Final = {
    0: None,
    1: None,
    2: "global_data",
    3: "kernel_symbol",
    4: "callback",
    5: "map_index",
    6: "map_index",
}
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
FRAME: Final = 10
PERF_EVENT_OUTPUT: Final = 25
CURRENT_CPU: Final = 0xFFFF_FFFF
UNKNOWN: Final = "unknown"
# An object's functions: what is asked of one again is asked while its object is looked at.
REMEMBERED: Final = 64


class Instruction(NamedTuple):
    """One instruction. ``at`` counts in 8 bytes; a 64-bit load takes two, and ``upper`` is its second half.

    ``is_whole``: the second half has nothing else, as kernels ask.
    """

    at: int
    opcode: int
    destination: int
    source: int
    offset: int
    immediate: int
    upper: int = 0
    is_whole: bool = True

    @property
    def kind(self) -> int:
        """The instruction's class."""
        return self.opcode & 7

    @property
    def target(self) -> int | None:
        """Where a jump leads, None where there is none."""
        if self.kind not in (JMP, JMP32) or self.opcode in (CALL, EXIT):
            return None
        # gotol of -mcpu=v4 has its distance in the immediate.
        distance = self.immediate if self.opcode == 0x06 else self.offset
        return self.at + distance + 1


@dataclass(frozen=True, slots=True)
class Flow:
    """Where instructions lead: whether back to where they were, and which places are never reached."""

    has_loop: bool
    unreached: frozenset[int]


@dataclass(frozen=True, slots=True)
class Code:
    """What was read of a function. ``count`` is as the kernel counts, ``calls`` are (place, immediate) of functions."""

    count: int
    helpers: frozenset[int]
    features: frozenset[str]
    calls: tuple[tuple[int, int], ...]
    stack_bytes: int
    instructions: tuple[Instruction, ...]


def read_code(code: bytes, *, byte_order: str = "little") -> Code:
    """Read a function's instructions. Raises ValueError for an invalid one: a cut load, a jump out of it."""
    instructions = decode(code, byte_order=byte_order)
    features = {feature for each in instructions if (feature := feature_of(each)) is not None}
    if flow_of(tuple(instructions)).has_loop:
        features.add("loop")
    stack_bytes, names_cpu = _follow(instructions)
    if names_cpu:
        features.add("current_cpu")
    calls = [each for each in instructions if each.opcode == CALL]
    return Code(
        len(code) // INSTRUCTION_BYTES,
        frozenset(each.immediate for each in calls if each.source == HELPER),
        frozenset(features),
        tuple((each.at, each.immediate) for each in calls if each.source == PROGRAM),
        stack_bytes,
        tuple(instructions),
    )


def decode(code: bytes, *, byte_order: str = "little") -> list[Instruction]:
    """Return all instructions. Raises ValueError for a length that is not a multiple of 8 or a load that is cut."""
    if len(code) % INSTRUCTION_BYTES:
        raise ValueError(f"{len(code)} bytes do not make whole instructions")
    is_little = byte_order == "little"
    rows = struct.iter_unpack("<BBhi" if is_little else ">BBhi", code)
    found: list[Instruction] = []
    at = 0
    for opcode, registers, offset, immediate in rows:
        low, high = registers & 15, registers >> 4
        destination, source = (low, high) if is_little else (high, low)
        upper, is_whole = 0, True
        if opcode == LOAD_IMM64:
            second = next(rows, None)
            if second is None:
                raise ValueError("the last load is cut")
            upper, is_whole = second[3], second[:3] == (0, 0, 0)
        found.append(Instruction(at, opcode, destination, source, offset, immediate, upper, is_whole))
        at += 2 if opcode == LOAD_IMM64 else 1
    return found


def successors(instruction: Instruction) -> tuple[int, ...]:
    """Return the places that may be executed next."""
    at, opcode = instruction[:2]
    if opcode == EXIT:
        return ()
    following = at + (2 if opcode == LOAD_IMM64 else 1)
    target = instruction.target if opcode & 7 in (JMP, JMP32) else None
    if target is None:
        return (following,)
    return (target,) if instruction.opcode in JUMPS_ALWAYS else (following, target)


@lru_cache(maxsize=REMEMBERED)
def flow_of(code: tuple[Instruction, ...]) -> Flow:
    """Return where instructions lead. Raises ValueError for one that leads out of them."""
    following = {each.at: successors(each) for each in code}
    return Flow(has_loop(following), frozenset(unreached(following)))


def feature_of(instruction: Instruction) -> str | None:
    """Return what an instruction needs beyond the first eBPF, by its name in data/since.toml; UNKNOWN for none."""
    match instruction.kind:
        case 4 | 7:
            return _of_arithmetic(instruction)
        case 5 | 6:
            return _of_jump(instruction)
        case 3:
            return _of_store(instruction)
        case 2:
            return None if instruction.opcode & 0xE0 == 0x60 else UNKNOWN
        case 1:
            mode = instruction.opcode & 0xE0
            return None if mode == 0x60 else "cpu_v4" if mode == 0x80 else UNKNOWN
        case _:
            return LOADS.get(instruction.source, UNKNOWN) if instruction.opcode == LOAD_IMM64 else UNKNOWN


def _of_arithmetic(instruction: Instruction) -> str | None:
    operation = instruction.opcode & 0xF0
    if operation > 0xD0:
        return UNKNOWN
    if instruction.opcode == 0xD7:
        return "cpu_v4"
    if instruction.offset == 0:
        return None
    # A signed division, a move that extends the sign; with offset 1, a cast into another address space.
    if operation in (0x30, 0x90) or (operation == 0xB0 and instruction.offset in (8, 16, 32)):
        return "cpu_v4"
    return "arena" if operation == 0xB0 and instruction.offset == 1 else UNKNOWN


def _of_jump(instruction: Instruction) -> str | None:
    opcode = instruction.opcode
    if opcode == CALL:
        return {HELPER: None, PROGRAM: "program_call", KFUNC: "kfunc"}.get(instruction.source, UNKNOWN)
    if opcode in (0x05, EXIT):
        return None
    if opcode in (0x06, 0xE5):
        return "cpu_v4" if opcode == 0x06 else "may_goto"
    operation = opcode & 0xF0
    if operation in (0x00, 0x80, 0x90) or operation > 0xD0:
        return UNKNOWN
    return "jmp32" if instruction.kind == JMP32 else "jlt" if operation >= 0xA0 else None


def _of_store(instruction: Instruction) -> str | None:
    mode, size = instruction.opcode & 0xE0, instruction.opcode & 0x18
    if mode == 0x60:
        return None
    if mode != 0xC0:
        return UNKNOWN
    if instruction.immediate in (0x100, 0x110):
        return "load_acquire"
    return UNKNOWN if size not in (0x00, 0x18) else "atomic" if instruction.immediate else None


def _follow(instructions: list[Instruction]) -> tuple[int, bool]:
    """Return how deep the stack is used, and whether a record is output to the current CPU by its flag.

    Addresses on the stack and constants are followed along straight code, which is a path that may be taken: what is
    found is there, though not all may be found.
    """
    frames: dict[int, int] = {FRAME: 0}
    constants: dict[int, int] = {}
    deepest, names_cpu = 0, False
    for each in instructions:
        base = each.source if each.kind == LDX else each.destination if each.kind in (ST, STX) else -1
        if base in frames:
            deepest = max(deepest, -(frames[base] + each.offset))
        if each.opcode == CALL:
            is_output = each.source == HELPER and each.immediate == PERF_EVENT_OUTPUT
            names_cpu |= is_output and constants.get(3) == CURRENT_CPU
            frames, constants = _kept(frames), _kept(constants)
        elif each.opcode in JUMPS_ALWAYS or each.opcode == EXIT:
            frames, constants = {FRAME: 0}, {}
        elif each.kind in (LD, LDX, ALU, ALU64):
            deepest = max(deepest, _assign(each, frames, constants))
    return deepest, names_cpu


def _kept(registers: dict[int, int]) -> dict[int, int]:
    """Return what a call leaves in the registers."""
    return {register: value for register, value in registers.items() if register > 5}


def _assign(instruction: Instruction, frames: dict[int, int], constants: dict[int, int]) -> int:
    """Note what an instruction puts into its register; return how deep an address on the stack it makes."""
    register, opcode = instruction.destination, instruction.opcode
    address = None
    if opcode == 0xBF and instruction.offset == 0:
        address = frames.get(instruction.source)
    elif opcode == 0x07 and register in frames:
        address = frames[register] + instruction.immediate
    frames.pop(register, None)
    constants.pop(register, None)
    if address is not None:
        frames[register] = address
    elif opcode in (0xB7, 0xB4) or (opcode == LOAD_IMM64 and instruction.source == 0):
        # What counts of the flags is their low half; the high half of a mov sign-extends, and must be nothing here.
        high = instruction.upper if opcode == LOAD_IMM64 else -1 if opcode == 0xB7 and instruction.immediate < 0 else 0
        constants[register] = (high & 0xFFFF_FFFF) << 32 | instruction.immediate & 0xFFFF_FFFF
    return 0 if address is None else -address
