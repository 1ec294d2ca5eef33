"""What the verifiers of kernels below 4.11 refuse: every path of a program followed as they do.

None of these kernels need be there to tell. They see no bounds of numbers, let helpers use the stack only, and keep
nothing but pointers there. Programs are those of root, which may leak addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from traceleft.battery.objects.insns import (
    ALU,
    ALU64,
    CALL,
    EXIT,
    JMP,
    LD,
    LDX,
    ST,
    STX,
    Instruction,
)
from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.since import load_since
from traceleft.battery.verifier.encoding import JUMP, NEGATE, SWAP
from traceleft.battery.verifier.liveness import live_registers
from traceleft.battery.verifier.shape import Refusal, Verdict, check_shape
from traceleft.battery.verifier.state import (
    NOTHING,
    NUMBER,
    SAYS,
    Kind,
    Refused,
    Register,
    State,
)
from traceleft.battery.verifier.verifier_rules import (
    BRANCHES_MAX,
    PROTOTYPES,
    STACK_BYTES,
    Argument,
    Result,
    Rules,
    takes_map,
)

ADD, MOVE = 0x00, 0xB0
EQUAL, UNEQUAL = 0x10, 0x50
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
WIDE: Final = {0x00, 0x18}
ADDS: Final = 0xC0
# Comparing is quadratic. Past this none is made, and all paths count.
COMPARISONS_MAX: Final = 4_000_000
# Instructions on all paths, up to which no later verifier is near its limit: a quarter of 4.11's.
PLAIN_MAX: Final = 16_384
PLAIN: Final = (Kind.NUMBER, Kind.CONSTANT)
TAIL_CALL: Final = 12
ON_STACK: Final = (Kind.FRAME, Kind.STACK)
OPERANDS: Final = {
    Argument.CONTEXT: Kind.CONTEXT,
    Argument.MAP: Kind.MAP,
    Argument.SIZE: Kind.CONSTANT,
}


def judge_old(code: Sequence[Instruction], maps: Mapping[int, MapFacts], *, context: range, rules: Rules) -> Verdict:
    """Return what one of these verifiers says.

    A program is plain where it makes no number of an address, no tail call into one of several maps, no read of the
    context or else, and is far below the limit of instructions: all that it does is checked more strictly here than
    by any later verifier.
    """
    found = check_shape(code)
    if found is not None:
        return Verdict(found)
    walk = _Walk(code, maps, context, rules)
    refusal = walk.refusal()
    return Verdict(refusal, refusal is None and rules.adds and walk.is_plain)


def _marks(code: Sequence[Instruction], rules: Rules) -> set[int]:
    """Return the places at which a verifier compares what it knows with what it knew there before."""
    marked: set[int] = set()
    for each in code:
        if each.kind != JMP or each.opcode == EXIT:
            continue
        if each.opcode == JUMP:
            marked.add(each.at + 1)
        elif each.opcode != CALL:
            marked |= {each.at + each.offset + 1} | ({each.at} if rules.marks_calls else set())
        elif rules.marks_calls:
            marked.add(each.at + 1)
    return marked


class _Walk:
    """One walk over all paths of a program."""

    def __init__(self, code: Sequence[Instruction], maps: Mapping[int, MapFacts], context: range, rules: Rules) -> None:
        self._maps, self._context, self._rules = maps, context, rules
        self._known: dict[int, list[State]] = {at: [] for at in _marks(code, rules)}
        self._live = live_registers(code) if rules.adds else dict.fromkeys(self._known, 0)
        self._waiting: list[tuple[State, int]] = []
        # What loads and stores went through on the first path to them.
        self._bases: dict[int, Kind] = {}
        # The map of each tail call.
        self._tails: dict[int, MapFacts] = {}
        self.is_plain = True
        self._lookups = self._comparisons = 0
        steps: dict[int, Callable[[State, Instruction], int | None]] = {
            LD: self._constant,
            LDX: self._load,
            ST: self._store_constant,
            STX: self._store,
            ALU: self._compute,
            ALU64: self._compute,
            JMP: self._jump,
        }
        self._steps = {each.at: (steps[each.kind], each) for each in code}

    def refusal(self) -> Refusal | None:
        """Follow all paths, up to what is refused."""
        self._waiting.append((State(), 0))
        steps, known, left = self._steps, self._known, self._rules.steps_max
        while self._waiting:
            state, place = self._waiting.pop()
            at: int | None = place
            try:
                while at is not None:
                    left -= 1
                    if left < 0:
                        raise Refused(f"more than {self._rules.steps_max} instructions on all its paths")
                    if at in known and self._was_here(state, at):
                        break
                    step, instruction = steps[at]
                    at = step(state, instruction)
            except Refused as exc:
                return Refusal(at or 0, str(exc))
        self.is_plain &= left > self._rules.steps_max - PLAIN_MAX
        return None

    def _was_here(self, state: State, at: int) -> bool:
        """Tell whether a state needs no following, as one that was here before covers it; else keep it."""
        known = self._known[at]
        self._comparisons += len(known)
        if self._comparisons > COMPARISONS_MAX:
            return False
        for each in reversed(known):
            if each.covers(state):
                self.is_plain &= not _hides_address(each, state, self._live[at])
                return True
        known.append(state.copy())
        return False

    def _constant(self, state: State, each: Instruction) -> int:
        state.write(each.destination, NUMBER)
        used = self._maps.get(each.at)
        if used is not None:
            state.write(each.destination, Register(Kind.MAP, map=used))
        elif each.source:
            raise Refused("a load of a map that is not defined")
        return each.at + 2

    def _compute(self, state: State, each: Instruction) -> int:
        operation, of_register = each.opcode & 0xF0, bool(each.opcode & 8)
        other = state.read(each.source) if of_register and operation not in (NEGATE, SWAP) else None
        if operation == MOVE:
            state.write(each.destination, NUMBER)
            # A register moved to itself is forgotten before it is read.
            is_whole = each.opcode & 7 == ALU64 or (not of_register and each.immediate >= 0)
            moved = state.registers[each.source] if of_register else Register(Kind.CONSTANT, each.immediate)
            if is_whole:
                state.write(each.destination, moved)
            return each.at + 1
        held = state.read(each.destination)
        made = self._sum(held, other, each) if operation == ADD else NUMBER
        if made.kind is not Kind.STACK and any(used and used.kind not in PLAIN for used in (held, other)):
            self.is_plain = False
        state.write(each.destination, made)
        return each.at + 1

    def _sum(self, left: Register, right: Register | None, each: Instruction) -> Register:
        """Return what an addition makes: an address on the stack from the frame's end, seldom more."""
        if each.opcode & 7 != ALU64:
            return NUMBER
        if left.kind is Kind.FRAME and right is None:
            return Register(Kind.STACK, each.immediate)
        if not self._rules.adds or left.kind not in (Kind.STACK, Kind.CONSTANT):
            return NUMBER
        if right is not None and right.kind is not Kind.CONSTANT:
            return NUMBER
        total = left.number + (each.immediate if right is None else right.number)
        if left.kind is Kind.STACK and not -STACK_BYTES <= total <= 0:
            raise Refused(f"an address outside the stack, at {total}")
        return Register(left.kind, total)

    def _load(self, state: State, each: Instruction) -> int:
        base = state.read(each.source)
        found = self._access(state, base, each, is_write=False)
        state.write(each.destination, found)
        if each.opcode & 0x18 in WIDE:
            self._check_base(each.at, base.kind)
        elif self._bases.setdefault(each.at, base.kind) is not base.kind:
            self.is_plain = False
        return each.at + 1

    def _store_constant(self, state: State, each: Instruction) -> int:
        self._access(state, state.read(each.destination), each, is_write=True)
        return each.at + 1

    def _store(self, state: State, each: Instruction) -> int:
        value, base = state.read(each.source), state.read(each.destination)
        if each.opcode & 0xE0 == ADDS:
            self._access(state, base, each, is_write=False)
            self._access(state, base, each, is_write=True)
            return each.at + 1
        self._access(state, base, each, is_write=True, value=value)
        self._check_base(each.at, base.kind)
        return each.at + 1

    def _access(
        self, state: State, base: Register, each: Instruction, *, is_write: bool, value: Register | None = None
    ) -> Register:
        """Check an access to memory; return what a read gives."""
        size = SIZES[each.opcode & 0x18]
        at = each.offset + (base.number if base.kind is Kind.STACK else 0)
        if at % size:
            raise Refused(f"an access of {size} bytes at {at}, which is not a multiple of that size")
        if base.kind in ON_STACK:
            if not is_write:
                return state.load(at, size)
            state.store(at, size, value)
        elif base.kind is Kind.VALUE:
            _check_value(base, at, size)
        elif base.kind is Kind.CONTEXT:
            if is_write or at not in self._context:
                raise Refused(f"a {'write' if is_write else 'read'} of {size} bytes at {at} of its context")
        else:
            through = each.source if each.kind == LDX else each.destination
            raise Refused(
                f"a {'write' if is_write else 'read'} through register {through}, which holds {SAYS[base.kind]}"
            )
        return NUMBER

    def _check_base(self, at: int, kind: Kind) -> None:
        """Refuse an instruction that accesses the context on one path, and something else on another."""
        first = self._bases.setdefault(at, kind)
        if first is not kind and Kind.CONTEXT in (first, kind):
            raise Refused("an access to its context on one path and to something else on another")

    def _jump(self, state: State, each: Instruction) -> int | None:
        if each.opcode == CALL:
            return self._call(state, each)
        if each.opcode == JUMP:
            return each.at + each.offset + 1
        if each.opcode == EXIT:
            state.read(0)
            return None
        return self._branch(state, each)

    def _branch(self, state: State, each: Instruction) -> int:
        """Follow one way, and keep the other."""
        of_register, operation = bool(each.opcode & 8), each.opcode & 0xF0
        if of_register:
            state.read(each.source)
        held = state.read(each.destination)
        following, target = each.at + 1, each.at + each.offset + 1
        is_equality = not of_register and operation in (EQUAL, UNEQUAL)
        if is_equality and held.kind is Kind.CONSTANT and held.number == each.immediate:
            return target if operation == EQUAL else following
        if len(self._waiting) >= BRANCHES_MAX:
            raise Refused(f"more than {BRANCHES_MAX} branches at once")
        other = state.copy()
        self._waiting.append((other, target))
        if is_equality:
            equal, unequal = (other, state) if operation == EQUAL else (state, other)
            self._compare(held, each, equal, unequal)
        return following

    def _compare(self, held: Register, each: Instruction, equal: State, unequal: State) -> None:
        """Note what a comparison with a constant tells; of the register that was compared only."""
        constant = Register(Kind.CONSTANT, each.immediate, held.map)
        if held.kind is Kind.VALUE_OR_NULL and each.immediate == 0:
            unequal.registers[each.destination] = Register(Kind.VALUE, map=held.map)
            equal.registers[each.destination] = constant if self._rules.narrows else NUMBER
        elif self._rules.narrows:
            equal.registers[each.destination] = constant

    def _call(self, state: State, each: Instruction) -> int:
        since = load_since()
        number = since.rewritten.get(each.immediate, each.immediate)
        prototype, helper = PROTOTYPES.get(number), since.helpers.get(each.immediate)
        if prototype is None or helper is None:
            raise Refused(f"a call of {helper.name if helper else 'a helper that is not known'}")
        used: MapFacts | None = None
        for register, argument in enumerate(prototype.arguments, 1):
            held = _argument(state, register, argument, helper.name)
            if argument is Argument.MAP:
                used = held.map
            self._check_memory(state, register, prototype.arguments, used, helper.name)
        if used is not None and not takes_map(number, used.type):
            raise Refused(f"map {used.name} given to {helper.name}, which takes none of its type")
        if number == TAIL_CALL and used is not None and self._tails.setdefault(each.at, used) is not used:
            self.is_plain = False
        self._return(state, prototype.result, used)
        return each.at + 1

    def _check_memory(
        self, state: State, register: int, arguments: Sequence[Argument], used: MapFacts | None, helper: str
    ) -> None:
        """Check what an argument points to, once its size is known."""
        held, argument, size = state.registers[register], arguments[register - 1], 0
        if argument is Argument.SIZE:
            size, held, argument = held.number, state.registers[register - 1], arguments[register - 2]
        elif used is not None and argument in (Argument.KEY, Argument.VALUE):
            size = used.key_bytes if argument is Argument.KEY else used.value_bytes
        else:
            return
        what = f"{argument.value} of {helper}"
        if held.kind is not Kind.STACK:
            raise Refused(f"{SAYS[held.kind]} as {what}")
        if size <= 0 or not -STACK_BYTES <= held.number <= -size:
            raise Refused(f"{size} bytes at {held.number} of the stack as {what}")
        if argument is Argument.DESTINATION and self._rules.fills_stack:
            state.fill(held.number, size)
        elif not state.has_data(held.number, size):
            raise Refused(f"{size} bytes at {held.number} of the stack, not all of them written before, as {what}")

    def _return(self, state: State, result: Result, used: MapFacts | None) -> None:
        """Forget what a call leaves undefined, and note what it returns."""
        registers = state.registers
        left = registers[0].map
        registers[:6] = [NOTHING] * 6
        if result is Result.NUMBER:
            registers[0] = Register(Kind.NUMBER, map=left)
        elif result is Result.MAP_VALUE:
            self._lookups += self._rules.numbers_lookups
            registers[0] = Register(Kind.VALUE_OR_NULL, self._lookups, used)


def _hides_address(known: State, state: State, live: int) -> bool:
    """Tell whether a state holds an address where the one that covers it holds a number; later verifiers mind."""
    pairs = enumerate(zip(known.registers, state.registers, strict=True))
    return any(
        live >> number & 1 and mine.kind is Kind.NUMBER and other.kind not in PLAIN for number, (mine, other) in pairs
    )


def _argument(state: State, number: int, argument: Argument, helper: str) -> Register:
    """Return what an argument's register holds, which must be of the argument's kind."""
    held = state.read(number)
    if argument is not Argument.ANYTHING and held.kind is not OPERANDS.get(argument, Kind.STACK):
        raise Refused(f"{SAYS[held.kind]} as {argument.value} of {helper}")
    return held


def _check_value(base: Register, at: int, size: int) -> None:
    if base.map is None or not 0 <= at <= base.map.value_bytes - size:
        name, held = (base.map.name, base.map.value_bytes) if base.map else ("?", 0)
        raise Refused(f"an access of {size} bytes at {at} of a value of map {name}, which has {held}")
