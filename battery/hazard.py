"""The instruction that breaks the verifiers of 4.14 to 4.19.0: arithmetic that puts a map's address into a number.

Where a number's register has a pointer to a map's value added to it (``r1 += r2``, r2 the pointer), these verifiers make
r1 a pointer to a map's value and leave out which map: adjust_ptr_min_max_vals copies the type, and sixteen bits of the
map's address. The next access through r1 reads a NULL map in check_map_access, and with a log the next line of the log
does (print_verifier_state). The kernel oopses with the verifier's lock held: every later load hangs. 0962590e5533 (4.20,
4.19.1) mends the addition. ``r1 -= r2`` and ``r1 &= r2`` leave the same half-made pointer on 4.14, where the verifier first
sets the type and then goes on as if both were numbers; 82abbf8d2fc4 (4.15) refuses them.

No kernel can be asked whether it has this, so such a program is refused on each. The rule, exactly:

- A register, and each of the 64 slots of the stack, has a set of three marks: it may hold a number (N), a pointer to a
  map's value (V), anything else (O). At the start register 1 and 10 have O, all else nothing. Where paths meet, the
  sets are united; instructions are visited again until no set grows.
- A 64-bit load gives O if it loads a map (source register 1, 5, or a relocation to a map), V if it loads an address in a
  map (source 2 or 6), N else.
- A call leaves registers 1 to 5 without a mark. Register 0 has N and V (null is a number) after map_lookup_elem (1),
  get_local_storage (81) and calls of functions, else N: these verifiers know no other helper that returns a map's value.
- A move of 64 bits copies the set. Every other move, all arithmetic of 32 bits, negation and byte swaps give N.
- Arithmetic of 64 bits with a constant keeps V and O for + and -, adding N; it gives N for all else. With a register, +
  and - give the union of both sets and N; all else gives N. (N, as bounds that contradict each other make a number of an
  address.)
- A store of 8 bytes from a register at register 10 plus an aligned constant replaces the set of that slot; any other
  store of 8 bytes through a register that has O adds its set to all slots. Stores of constants and of less than 8 bytes add
  N where they would replace, nothing else.
- A load of 8 bytes at register 10 plus an aligned constant gives the set of that slot and N; any other load of 8 bytes
  through a register that has O gives the union of all slots and N; all other loads give N.
- The hazard is: arithmetic of 64 bits, +, - or &, whose second operand is a register that has V, and whose first has N.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from traceleft.battery.insns import ALU, ALU64, CALL, LD, LDX, ST, STX, Instruction, successors
from traceleft.battery.shape import Refusal

FRAME_POINTER: Final = 10
REGISTERS: Final = 11
# Slots follow the registers; the first is the one nearest to the frame's end.
SLOTS: Final = 64
ALL_SLOTS: Final = (1 << SLOTS) - 1 << REGISTERS
ADD, SUB, AND, MOVE = 0x00, 0x10, 0x50, 0xB0
LONG: Final = 0x18
ATOMIC: Final = 0xC0
FINDERS: Final = (1, 81)
WHY: Final = (
    "a map's address added to a number, on which the verifiers of 4.14 to 4.19.0 oops (add the number to the address)"
)
# A bit for each register and slot: those that may hold a number, a pointer to a map's value, anything else.
Marks = tuple[int, int, int]


def find_hazards(code: Sequence[Instruction], maps: Mapping[int, object] | None = None) -> tuple[Refusal, ...]:
    """Return each place where a number may have the address of a map's value added to it, in order.

    ``maps``: where 64-bit loads of maps stand. Takes any code that decodes; jumps that lead nowhere end a path.
    """
    if not any(_is_suspect(each) for each in code):
        return ()
    by_place = {each.at: each for each in code}
    states: dict[int, Marks] = {0: (0, 0, 1 << 1 | 1 << FRAME_POINTER)}
    found: set[int] = set()
    waiting = [0] if 0 in by_place else []
    while waiting:
        at = waiting.pop()
        each, marks = by_place[at], states[at]
        if _is_suspect(each) and marks[0] >> each.destination & 1 and marks[1] >> each.source & 1:
            found.add(at)
        after = _apply(each, marks, maps or {})
        for place in successors(each):
            if place not in by_place:
                continue
            held = states.get(place, (0, 0, 0))
            united = held[0] | after[0], held[1] | after[1], held[2] | after[2]
            if united != held or place not in states:
                states[place] = united
                waiting.append(place)
    return tuple(Refusal(at, WHY) for at in sorted(found))


def _is_suspect(each: Instruction) -> bool:
    return each.opcode in (0x0F, 0x1F, 0x5F) and _is_sound(each)


def _is_sound(each: Instruction) -> bool:
    return each.destination < REGISTERS and each.source < REGISTERS


def _apply(each: Instruction, marks: Marks, maps: Mapping[int, object]) -> Marks:
    """Return the marks after an instruction."""
    kind = each.opcode & 7
    if not _is_sound(each):
        return marks
    if kind == ALU64:
        return _compute(each, marks)
    if kind == LDX:
        return _load(each, marks)
    if kind in (ST, STX):
        return _store(each, marks, _of(marks, each.source) if kind == STX else (1, 0, 0))
    if kind == LD:
        is_map, is_value = each.at in maps or each.source in (1, 5), each.source in (2, 6)
        return _put(marks, each.destination, (0, 0, 1) if is_map else (0, 1, 0) if is_value else (1, 0, 0))
    if kind == ALU:
        return _put(marks, each.destination, (1, 0, 0))
    if each.opcode == CALL:
        may_find = each.source != 0 or each.immediate in FINDERS
        return marks[0] & ~0x3F | 1, marks[1] & ~0x3F | may_find, marks[2] & ~0x3F
    return marks


def _of(marks: Marks, place: int) -> Marks:
    """Return the marks of one register or slot."""
    return marks[0] >> place & 1, marks[1] >> place & 1, marks[2] >> place & 1


def _put(marks: Marks, place: int, own: Marks) -> Marks:
    """Replace the marks of one register or slot."""
    if place == FRAME_POINTER:
        return marks
    clear = ~(1 << place)
    return marks[0] & clear | own[0] << place, marks[1] & clear | own[1] << place, marks[2] & clear | own[2] << place


def _compute(each: Instruction, marks: Marks) -> Marks:
    operation, of_register = each.opcode & 0xF0, bool(each.opcode & 8)
    other = _of(marks, each.source) if of_register else (1, 0, 0)
    if operation == MOVE:
        return _put(marks, each.destination, other)
    if operation not in (ADD, SUB):
        return _put(marks, each.destination, (1, 0, 0))
    _, value, rest = _of(marks, each.destination)
    return _put(marks, each.destination, (1, value | other[1], rest | other[2]))


def _slot(offset: int) -> int | None:
    """Return the place of a stack slot's marks; None for what is no slot."""
    return None if offset % 8 or not -8 * SLOTS <= offset < 0 else REGISTERS + (-offset >> 3) - 1


def _store(each: Instruction, marks: Marks, own: Marks) -> Marks:
    is_whole = each.opcode & 0x18 == LONG and each.opcode & 0xE0 != ATOMIC and each.opcode & 7 == STX
    if each.destination == FRAME_POINTER:
        slot = _slot(each.offset - each.offset % 8)
        if slot is None:
            return marks
        if is_whole and each.offset % 8 == 0:
            return _put(marks, slot, own)
        return marks[0] | 1 << slot, marks[1], marks[2]
    if is_whole and marks[2] >> each.destination & 1:
        number, value, rest = (ALL_SLOTS * bit for bit in own)
        return marks[0] | number, marks[1] | value, marks[2] | rest
    return marks


def _load(each: Instruction, marks: Marks) -> Marks:
    if each.opcode & 0x18 != LONG or not marks[2] >> each.source & 1:
        return _put(marks, each.destination, (1, 0, 0))
    slot = _slot(each.offset) if each.source == FRAME_POINTER else None
    if slot is not None:
        _, value, rest = _of(marks, slot)
        return _put(marks, each.destination, (1, value, rest))
    return _put(marks, each.destination, (1, int(bool(marks[1] & ALL_SLOTS)), int(bool(marks[2] & ALL_SLOTS))))
