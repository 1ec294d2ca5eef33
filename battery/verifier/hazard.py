"""Instructions that break the verifiers of 4.14 to 4.19.0: arithmetic that puts a map's address into a number.

``r1 += r2`` with a number in r1 and a pointer to a map's value in r2: these verifiers make r1 such a pointer as well,
but do not copy which map (adjust_ptr_min_max_vals copies the type and 16 bits of the map's address). The next access
through r1 reads a NULL map (check_map_access), and so does the log (print_verifier_state). The kernel oopses and keeps
the verifier's lock: every later load hangs. 0962590e5533 (4.20, 4.19.1) fixes the addition. On 4.14 ``r1 -= r2`` and
``r1 &= r2`` leave the same half-made pointer, as the type is set before the operation is refused; 82abbf8d2fc4 (4.15)
refuses these programs.

No kernel can be asked whether it has the bug, so such a program is refused for every kernel. The exact rule:

- Registers 0 to 10 and the 64 slots of the stack each have a set of marks: may hold a number (N), a pointer to a map's
  value (V), an address of the stack (S). At the start register 10 has S, the others nothing. Where paths meet, sets
  are united. Instructions are visited until no set grows.
- A 64-bit load gives nothing for a map (source register 1 or 5, or a relocation to a map), V for an address in a map
  (source 2 or 6), else N.
- A call clears registers 1 to 5. Register 0 gets N and V (null is a number) after map_lookup_elem (1),
  get_local_storage (81) and calls of functions, else N. These verifiers know no other helper that returns V.
- A 64-bit move copies the set. All other moves, 32-bit arithmetic, negation and byte swaps give N.
- 64-bit ``+`` and ``-`` give the union of both operands' V and S, and N: contradicting bounds turn an address into a
  number. All other 64-bit arithmetic gives N.
- An 8-byte store of a register to register 10 plus a multiple of 8 replaces the set of that slot. An 8-byte store of a
  register through any other register that has S adds the set to all slots. A store of a constant, of less than 8
  bytes, or an atomic one adds N to the slot if it is at register 10 plus a constant, and changes nothing otherwise.
- An 8-byte load from register 10 plus a multiple of 8 gives N and the slot's V and S. An 8-byte load through any other
  register that has S gives N and the V and S of all slots. All other loads give N.
- The hazard: 64-bit ``+``, ``-`` or ``&`` with a register as second operand that has V, and a first operand that has N.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from traceleft.battery.objects.insns import ALU, ALU64, CALL, LD, LDX, ST, STX, Instruction, successors
from traceleft.battery.verifier.shape import Refusal

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
# A bit for each register and slot: those that may hold a number, a pointer to a map's value, an address of the stack.
Marks = tuple[int, int, int]


def find_hazards(code: Sequence[Instruction], maps: Mapping[int, object] | None = None) -> tuple[Refusal, ...]:
    """Return each place where a number may have the address of a map's value added to it, in order.

    ``maps``: where 64-bit loads of maps stand. Takes any code that decodes; jumps that lead nowhere end a path.
    """
    if not any(_is_suspect(each) for each in code):
        return ()
    by_place = {each.at: each for each in code}
    states: dict[int, Marks] = {0: (0, 0, 1 << FRAME_POINTER)}
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
        return _put(marks, each.destination, (0, 0, 0) if is_map else (0, 1, 0) if is_value else (1, 0, 0))
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
    """Return the place of a stack slot's marks; None if it is not a slot."""
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
