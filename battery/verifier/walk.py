"""All paths of a program, followed as verifiers from 4.11 on do (do_check, is_state_visited, check_cond_jmp_op)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from traceleft.battery.objects.insns import (
    ALU,
    ALU64,
    CALL,
    EXIT,
    JMP,
    JMP32,
    JUMPS_ALWAYS,
    LD,
    LDX,
    Instruction,
    successors,
)
from traceleft.battery.objects.map_btf import MapFacts
from traceleft.battery.since import Kernel
from traceleft.battery.verifier.access import Access
from traceleft.battery.verifier.calls import Call
from traceleft.battery.verifier.era import Era
from traceleft.battery.verifier.liveness import touches
from traceleft.battery.verifier.machine import (
    FRAME_POINTER,
    MAYBE,
    NOTHING,
    NUMBER,
    VALUE,
    Machine,
    Register,
    Saved,
)
from traceleft.battery.verifier.pruning import Pruner
from traceleft.battery.verifier.shape import Refusal, Verdict, check_shape
from traceleft.battery.verifier.state import REGISTERS, Refused
from traceleft.battery.verifier.steps import Step, numbers_of, steps_of

EQUAL, UNEQUAL = 0x10, 0x50
Branch = Callable[[Machine], int | None]


class Stop(Exception):
    """A refusal, at its place. Never leaves the package's verifier."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at = at


class TooMany(Stop):
    """More instructions than a verifier follows."""


class Block:
    """Instructions between two places where states are compared; ``ends`` decides where to go on."""

    __slots__ = ("contexts", "defined", "ends", "following", "places", "steps", "used", "was_run")

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.places: list[int] = []
        self.used = self.defined = 0
        # The accesses to the context that were made here, which must be the same on each path.
        self.contexts: tuple[int, ...] = ()
        self.was_run = False
        self.ends: Branch | None = None
        self.following: int | None = None


class Walk:
    """One walk over all paths of a program. ``count`` is how many instructions were followed."""

    def __init__(
        self,
        code: Sequence[Instruction],
        maps: Mapping[int, MapFacts],
        context: range,
        era: Era,
        kernel: Kernel | None = None,
        places: set[int] | None = None,
    ) -> None:
        self._kernel = max(kernel or era.kernel, era.kernel)
        self._era, self._numbers, self._steps = era, numbers_of(era), steps_of(era)
        self._code = {each.at: each for each in code}
        names = {facts.name: facts for facts in maps.values()}
        self._index = {name: index for index, name in enumerate(names)}
        self._maps = maps
        self._access = Access(era, self._numbers, list(names.values()), context)
        self._pruner = Pruner(era)
        self._waiting: list[tuple[Machine, int]] = []
        self._known: dict[int, list[Saved]] = {at: [] for at in (marks(code, era) if places is None else places)}
        self._blocks: dict[int, Block] = {}
        self._ids = 0
        self.count = 0

    @property
    def is_plain(self) -> bool:
        """Whether verifiers that know more of numbers say the same: no number decided whether an access is sound."""
        return self._access.is_plain

    def follow(self) -> None:
        """Follow all paths; raise Stop at what is refused."""
        self._waiting.append((self._start(), 0))
        try:
            while self._waiting:
                machine, at = self._waiting.pop()
                self._follow(machine, at)
        finally:
            # They refer to this walk, which would wait for a garbage collection.
            self._blocks.clear()

    def _start(self) -> Machine:
        nothing = Register(NOTHING, None)
        registers = [nothing] * REGISTERS
        registers[1], registers[FRAME_POINTER] = self._numbers.start
        return Machine(registers, self._access)

    def _follow(self, machine: Machine, at: int) -> None:
        blocks, known, most = self._blocks, self._known, self._era.steps_max
        place: int | None = at
        while place is not None:
            seen = known.get(place)
            if seen is not None:
                old = self._pruner.find(seen, machine) if seen else None
                if old is not None:
                    machine.mark_read(old.read)
                    self.count += 1
                    if self.count > most:
                        raise TooMany(place, f"more than {most} instructions on all its paths")
                    return
                seen.append(machine.save())
            block = blocks.get(place) or self._compile(place)
            self.count += len(block.places)
            if self.count > most:
                raise TooMany(place, f"more than {most} instructions on all its paths")
            machine.mark_read(block.used)
            place = self._run(machine, block)
            block.was_run = True

    def _run(self, machine: Machine, block: Block) -> int | None:
        done = 0
        try:
            for step in block.steps:
                step(machine)
                done += 1
            machine.written |= block.defined
            if machine.contexts != block.contexts:
                _agree(machine, block)
            machine.contexts = ()
            return block.following if block.ends is None else block.ends(machine)
        except Refused as exc:
            raise Stop(block.places[min(done, len(block.places) - 1)], str(exc)) from exc

    def _compile(self, at: int) -> Block:
        """Make one block: up to a jump, the end, or the next place where states are compared."""
        block = self._blocks[at] = Block()
        while True:
            each = self._code[at]
            block.places.append(at)
            used, defined = self._touches(each)
            block.used |= used & ~block.defined
            block.defined |= defined
            following = at + (2 if each.kind == LD else 1)
            if each.kind in (JMP, JMP32) and each.opcode != CALL:
                block.following = each.target if each.opcode in JUMPS_ALWAYS else None
                block.ends = None if each.opcode in JUMPS_ALWAYS else self._end(each)
                return block
            try:
                block.steps.append(self._step(each))
            except Refused as exc:
                raise Stop(at, str(exc)) from exc
            if following in self._known:
                block.following = following
                return block
            at = following

    def _touches(self, each: Instruction) -> tuple[int, int]:
        """4.14 takes liveness along with what it reads from the stack: that write does not count."""
        used, defined = touches(each)
        is_lost = self._era.has_bits and not self._era.tracks_slots and each.kind == LDX and each.opcode & 0x18 == 0x18
        return used, 0 if is_lost and each.source == FRAME_POINTER else defined

    def _step(self, each: Instruction) -> Step:
        if each.kind == LD:
            return self._constant(each)
        return self._call(each) if each.opcode == CALL else self._steps.step(each)

    def _constant(self, each: Instruction) -> Step:
        to, used = each.destination, self._maps.get(each.at)
        if used is not None:
            made = self._numbers.pair(self._index[used.name])
        elif each.source:
            raise Refused("a load of a map that is not defined")
        else:
            made = self._numbers.wide((each.upper & 0xFFFF_FFFF) << 32 | each.immediate & 0xFFFF_FFFF)

        def load(machine: Machine) -> None:
            machine.registers[to] = made

        return load

    def _call(self, each: Instruction) -> Step:
        call = Call(self._access, each, self._kernel, self._new_id)
        following = each.at + 1

        def run(machine: Machine) -> None:
            other = call.run(machine)
            if other is not None:
                self._push(machine, following).registers[0] = other

        return run

    def _new_id(self) -> int:
        self._ids += 1
        return self._ids

    def _push(self, machine: Machine, at: int) -> Machine:
        if len(self._waiting) >= self._era.branches_max:
            raise Refused(f"more than {self._era.branches_max} branches at once")
        other = machine.copy()
        self._waiting.append((other, at))
        return other

    def _end(self, each: Instruction) -> Branch:
        if each.opcode != EXIT:
            return self._branch(each)

        def leave(machine: Machine) -> None:
            machine.read(0)

        return leave

    def _branch(self, each: Instruction) -> Branch:
        to, source, code = each.destination, each.source, each.opcode & 0xF0
        of_register, is_wide = bool(each.opcode & 8), each.kind == JMP
        following, target = each.at + 1, each.at + each.offset + 1
        outcome = self._numbers.comparison(code, is_wide=is_wide, is_immediate=not of_register)
        constant = self._numbers.immediate(each.immediate)
        tells_null = not of_register and is_wide and each.immediate == 0 and code in (EQUAL, UNEQUAL)

        def branch(machine: Machine) -> int:
            right = machine.read(source) if of_register else constant
            left = machine.read(to)
            taken, left_there, right_there, left_here, right_here = outcome(left, right)
            if taken is not None:
                return target if taken else following
            other = self._push(machine, target)
            registers = machine.registers
            if of_register:
                other.registers[source], registers[source] = right_there, right_here
            other.registers[to], registers[to] = left_there, left_here
            if tells_null and left.kind == MAYBE:
                null, there = (other, machine) if code == EQUAL else (machine, other)
                self._tell(null, left.id, is_null=True)
                self._tell(there, left.id, is_null=False)
            return following

        return branch

    def _tell(self, machine: Machine, number: int, *, is_null: bool) -> None:
        """mark_map_regs: what one lookup found is null, or is not, wherever it is kept."""
        registers = machine.registers
        for place, register in enumerate(registers):
            if register.kind == MAYBE and register.id == number:
                registers[place] = self._told(register, is_null=is_null)
        for place, slot in list(machine.stack.items()):
            kept = slot.register
            if kept is not None and kept.kind == MAYBE and kept.id == number and slot.saved & 1:
                if machine.is_shared:
                    machine.stack, machine.is_shared = dict(machine.stack), False
                machine.stack[place] = slot._replace(register=self._told(kept, is_null=is_null))

    def _told(self, register: Register, *, is_null: bool) -> Register:
        return Register(NUMBER if is_null else VALUE, register.known, 0, -1 if is_null else register.map)


def _agree(machine: Machine, block: Block) -> None:
    """Refuse an instruction that accesses the context on one path, and something else on another."""
    if block.was_run:
        raise Refused("an access to its context on one path and to something else on another")
    block.contexts = machine.contexts


def judge(
    code: Sequence[Instruction], maps: Mapping[int, MapFacts], *, context: range, era: Era, kernel: Kernel | None = None
) -> Verdict:
    """Return what verifiers of an era say of a program.

    ``maps`` are those that 64-bit loads name, by where these stand; ``context`` the bytes of it that may be read.
    ``kernel`` is the first that the program is for, if that is later than the era's first.
    """
    found = check_shape(code, max(kernel or era.kernel, era.kernel)) or _check_targets(code)
    if found is not None:
        return Verdict(found)
    # Comparing states where ways meet, and nowhere else, is faster; how many instructions are followed then is a little
    # more or less than the kernel's count.
    walk = Walk(code, maps, context, era, kernel, merges(code))
    try:
        walk.follow()
        if walk.count > era.steps_max * 3 // 4:
            raise TooMany(0, "")
    except TooMany:
        walk = Walk(code, maps, context, era, kernel)
        try:
            walk.follow()
        except Stop as exc:
            return Verdict(Refusal(exc.at, str(exc)))
    except Stop as exc:
        return Verdict(Refusal(exc.at, str(exc)))
    return Verdict(None, walk.is_plain)


def _check_targets(code: Sequence[Instruction]) -> Refusal | None:
    """Refuse a write to the frame pointer, wherever it stands."""
    for each in code:
        if each.destination == FRAME_POINTER and each.kind in (LD, LDX, ALU, ALU64):
            return Refusal(each.at, "a write to the frame pointer")
    return None


def merges(code: Sequence[Instruction]) -> set[int]:
    """Return the places to which more than one way leads."""
    led = Counter(place for each in code for place in successors(each))
    return {place for place, ways in led.items() if ways > 1}


def marks(code: Sequence[Instruction], era: Era) -> set[int]:
    """Return the places where states are compared (push_insn, check_cfg)."""
    marked: set[int] = set()
    for each in code:
        if each.kind not in (JMP, JMP32) or each.opcode == EXIT:
            continue
        if each.opcode == CALL:
            marked.add(each.at + 1)
        elif each.opcode in JUMPS_ALWAYS:
            marked.add(each.at + 1)
            if era.saves_constants and each.target is not None:
                marked.add(each.target)
        else:
            marked |= {each.at, each.at + each.offset + 1}
    return marked
