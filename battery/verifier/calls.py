"""What verifiers from 4.11 on ask of a helper's arguments: check_call, later check_helper_call, and check_func_arg."""

from collections.abc import Callable, Mapping
from typing import Final

from traceleft.battery.objects.insns import Instruction
from traceleft.battery.since import Kernel, load_since
from traceleft.battery.verifier import bounds
from traceleft.battery.verifier.access import RANGE_MAX, Access
from traceleft.battery.verifier.machine import (
    ADJUSTED,
    CONSTANT,
    CONTEXT,
    MAP,
    MAYBE,
    NOTHING,
    NUMBER,
    SAYS,
    STACK,
    VALUE,
    Machine,
    Register,
)
from traceleft.battery.verifier.ranges import FAR
from traceleft.battery.verifier.state import Refused
from traceleft.battery.verifier.verifier_rules import PROTOTYPES, STACK_BYTES, Argument, Prototype, Result, takes_map

TAIL_CALL, PROBE_READ, OUTPUT, READ_STR, GET_STACK = 12, 4, 25, 45, 67
_ANYTHING, _CONTEXT, _MAP = Argument.ANYTHING, Argument.CONTEXT, Argument.MAP
_DESTINATION, _SIZE = Argument.DESTINATION, Argument.SIZE
# Those that came with 4.11 and later; data/since.toml says which kernel has each.
NEWER: Final[Mapping[int, Prototype]] = {
    READ_STR: Prototype((_DESTINATION, _SIZE, _ANYTHING)),
    55: Prototype((_MAP, _ANYTHING, _DESTINATION, _SIZE)),
    # Of raw tracepoints the destination must have been written before.
    GET_STACK: Prototype((_CONTEXT, Argument.SOURCE, _SIZE, _ANYTHING)),
    80: Prototype(),
    109: Prototype((_ANYTHING,)),
}
KNOWN: Final = {**PROTOTYPES, **NEWER}
# Sizes that may be 0, where the verifier takes that.
MAY_BE_NOTHING: Final = frozenset({PROBE_READ, OUTPUT, READ_STR, GET_STACK})
OF_MEMORY: Final = (STACK, VALUE, ADJUSTED)
LOST: Final = Register(NOTHING, None)
ERROR: Final = bounds.settle(bounds.deduce(bounds.UNKNOWN._replace(smin=-(1 << 31), smax=-1)))
OPERANDS: Final = {Argument.CONTEXT: (CONTEXT,), Argument.MAP: (MAP,), Argument.SIZE: (NUMBER, CONSTANT)}


def arguments_of(each: Instruction) -> int:
    """Return how many registers a call reads."""
    prototype = KNOWN.get(load_since().rewritten.get(each.immediate, each.immediate))
    return len(prototype.arguments) if prototype else 0


class Call:
    """A call of a helper, at one place of a program."""

    def __init__(self, access: Access, each: Instruction, kernel: Kernel, new_id: Callable[[], int]) -> None:
        since = load_since()
        self._number = since.rewritten.get(each.immediate, each.immediate)
        prototype, helper = KNOWN.get(self._number), since.helper(each.immediate)
        if prototype is None or helper is None or helper.tracing is None or helper.tracing > kernel:
            raise Refused(f"a call of {helper.name if helper else 'a helper that is not known'}")
        self._access, self._era, self._new_id = access, access.era, new_id
        self._prototype, self._name = prototype, helper.name
        self._may_be_nothing = self._era.takes_nothing and self._number in MAY_BE_NOTHING
        self._map = -1

    def run(self, machine: Machine) -> Register | None:
        """Check the arguments, and leave the result; return another that register 0 may hold, if there is one."""
        used, size = -1, (0, 0)
        for number, argument in enumerate(self._prototype.arguments, 1):
            held = machine.read(number)
            if argument is _ANYTHING:
                continue
            self._check_kind(held, argument)
            if argument is _MAP:
                used = held.map
            elif argument is _CONTEXT:
                self._access.check_whole(held)
            elif argument in (Argument.KEY, Argument.VALUE):
                facts = self._access.maps[used]
                self._check_block(
                    machine, held, facts.key_bytes if argument is Argument.KEY else facts.value_bytes, argument
                )
            elif argument is _SIZE:
                size = self._check_size(machine, held, number)
        self._check_map(used)
        return self._leave(machine, used, size)

    def _check_kind(self, held: Register, argument: Argument) -> None:
        kinds = OPERANDS.get(argument, OF_MEMORY)
        if argument in (Argument.KEY, Argument.VALUE) and not self._era.takes_values:
            kinds = (STACK,)
        if held.kind not in kinds:
            raise Refused(f"{SAYS[held.kind]} as {argument.value} of {self._name}")

    def _check_map(self, used: int) -> None:
        """check_map_func_compatibility; and a tail call has one map (4.17: c93552c443eb)."""
        if used < 0:
            return
        facts = self._access.maps[used]
        if not takes_map(self._number, facts.type):
            raise Refused(f"map {facts.name} given to {self._name}, which takes none of its type")
        if self._number == TAIL_CALL:
            if self._map not in (-1, used):
                raise Refused("a tail call into one map on one path and another on another")
            self._map = used

    def _check_size(self, machine: Machine, held: Register, number: int) -> tuple[int, int]:
        """Check a size, and the memory of that size: at its lowest and at its highest."""
        low, high, is_constant = self._span(held)
        self._access.is_plain &= is_constant
        argument = self._prototype.arguments[number - 2]
        base, what = machine.registers[number - 1], f"the size of {self._name}"
        if low < 0:
            raise Refused(f"a number that may be negative, or without bounds, as {what}")
        if low == 0 and not (is_constant and high == 0):
            self._check_memory(machine, base, 0, argument, is_constant=is_constant)
        if high >= (FAR if self._era.has_bits else RANGE_MAX):
            raise Refused(f"a number without an upper bound as {what}")
        self._check_memory(machine, base, high, argument, is_constant=is_constant)
        return low, high

    def _span(self, held: Register) -> tuple[int, int, bool]:
        if self._era.has_bits:
            known = held.known
            return (known.smin if known.smin < 0 else known.umin), known.umax, not known.bits[1]
        if held.kind == CONSTANT:
            return held.offset, held.offset, True
        return held.known[0], held.known[1], False

    def _check_memory(
        self, machine: Machine, base: Register, size: int, argument: Argument, *, is_constant: bool
    ) -> None:
        """check_helper_mem_access."""
        what = f"{argument.value} of {self._name}"
        if size == 0 and not self._may_be_nothing:
            raise Refused(f"a size that may be 0 as the size of {self._name}")
        if base.kind != STACK:
            self._access.check_value(base, 0, size, allows_nothing=True)
            return
        offset = self._stack_place(base, size, what)
        if argument is _DESTINATION and is_constant:
            self._access.fill_block(machine, offset, size)
        else:
            self._access.read_block(machine, offset, size, what)

    def _check_block(self, machine: Machine, base: Register, size: int, argument: Argument) -> None:
        """Check a key, or a value."""
        if base.kind != STACK:
            self._access.check_value(base, 0, size, allows_nothing=False)
            return
        what = f"{argument.value} of {self._name}"
        if size == 0:
            raise Refused(f"0 bytes as {what}")
        self._access.read_block(machine, self._stack_place(base, size, what), size, what)

    def _stack_place(self, base: Register, size: int, what: str) -> int:
        offset = self._access.place(base, 0, 1)
        if offset + size > 0:
            raise Refused(f"{size} bytes at {offset} of the stack as {what}")
        assert offset >= -STACK_BYTES
        return offset

    def _leave(self, machine: Machine, used: int, size: tuple[int, int]) -> Register | None:
        registers = machine.registers
        registers[0:6] = [LOST] * 6
        if self._prototype.result is Result.NOTHING:
            return None
        if self._prototype.result is Result.MAP_VALUE:
            registers[0] = self._found(used)
            return None
        registers[0] = self._access.numbers.unknown
        self._access.is_plain &= self._number not in (READ_STR, GET_STACK)
        if not self._era.refines_results or self._number not in (READ_STR, GET_STACK):
            return None
        registers[0] = _bounded(size[1], splits=self._era.splits_results)
        return Register(NUMBER, ERROR) if self._era.splits_results else None

    def _found(self, used: int) -> Register:
        known = bounds.ZERO if self._era.has_bits else (0, 0)
        return Register(MAYBE, known, 0, used, self._new_id())


def _bounded(most: int, *, splits: bool) -> Register:
    """do_refine_retval_range."""
    if splits:
        known = bounds.Bounds(0, most, 0, most, bounds.UNKNOWN.bits)
        return Register(NUMBER, bounds.refine(bounds.settle(bounds.deduce(known))))
    known = bounds.UNKNOWN._replace(smax=most, umax=most)
    return Register(NUMBER, bounds.settle(bounds.deduce(known)))
