"""What a verifier from 4.11 on knows at one place of a program: registers, stack, and what was read of them later."""

from typing import Any, Final, NamedTuple, Protocol

from traceleft.battery.verifier.state import Refused

# What a register holds. Verifiers of 4.11 to 4.13 tell constants from numbers, the frame's end from what lies on the
# stack, and map values that something was added to; later ones do not.
NOTHING, NUMBER, CONTEXT, MAP, VALUE, MAYBE, STACK, FRAME, ADJUSTED, CONSTANT = range(10)
SAYS: Final = {
    NOTHING: "nothing",
    NUMBER: "a number",
    CONTEXT: "the context",
    MAP: "a map",
    VALUE: "a map's value",
    MAYBE: "a map's value that may be null",
    STACK: "an address on the stack",
    FRAME: "the frame's end",
    ADJUSTED: "a map's value",
    CONSTANT: "a number",
}
FRAME_POINTER: Final = 10
SLOT_BYTES: Final = 8
# The bit of a stack slot in masks of what is read and written; registers have the lowest ten.
FIRST_SLOT_BIT: Final = 10
WHOLE: Final = 0xFF


class Register(NamedTuple):
    """What a register holds. ``known`` is what is known of the number, or of what was added to the address.

    ``offset`` is the constant part of an address, ``map`` the place of a map in the program's list, ``id`` tells one
    lookup from another.
    """

    kind: int
    known: Any
    offset: int = 0
    map: int = -1
    id: int = 0


class Slot(NamedTuple):
    """Eight bytes of the stack: a bit for each byte of data, of zeros, of a saved register; and that register."""

    data: int = 0
    zeros: int = 0
    saved: int = 0
    register: Register | None = None


EMPTY: Final = Slot()
DATA: Final = Slot(data=WHOLE)
ZEROS: Final = Slot(zeros=WHOLE)


class Saved:
    """A state that a path went through at a place where states are compared.

    ``read`` are the registers and slots that something after it read (the kernel's REG_LIVE_READ), ``written`` those
    that were written between its parent and it.
    """

    __slots__ = ("checks", "depth", "parent", "read", "registers", "slots", "stack", "written")

    def __init__(self, machine: "Machine") -> None:
        self.registers = tuple(machine.registers)
        self.stack = machine.stack
        self.depth = machine.depth
        self.parent = machine.parent
        self.written = machine.written
        self.read = 0
        self.checks: list[tuple[int, Register]] | None = None
        self.slots: list[tuple[int, Slot]] = []


class Accesses(Protocol):
    """What checks the loads and stores of a path, and what it knows of all of them (``access.Access``)."""

    sizes: list[int]
    nowhere: Any
    has_varied: bool
    is_plain: bool

    def read(self, machine: "Machine", base: Register, offset: int, size: int, through: int) -> Register:
        """Return what a load leaves in its register."""
        ...

    def write(
        self, machine: "Machine", base: Register, offset: int, size: int, through: int, value: Register | None
    ) -> None:
        """Check a store, and keep what it leaves on the stack."""
        ...

    def add(self, machine: "Machine", base: Register, offset: int, size: int, through: int) -> None:
        """Check an addition to memory."""
        ...

    def read_slot(self, machine: "Machine", slot: Slot | None, offset: int, size: int) -> Register:
        """Return what a load from the stack leaves in its register."""
        ...

    def write_slot(self, machine: "Machine", offset: int, size: int, value: Register | None) -> None:
        """Keep what a store leaves on the stack."""
        ...


class Machine:
    """The state of the path that is followed. ``depth`` is how many slots of the stack were written."""

    __slots__ = ("access", "contexts", "depth", "is_shared", "parent", "registers", "stack", "written")

    def __init__(self, registers: list[Register], access: "Accesses") -> None:
        self.registers, self.access = registers, access
        # The accesses to the context that were made since this was emptied, as registers and offsets.
        self.contexts: tuple[int, ...] = ()
        self.stack: dict[int, Slot] = {}
        self.is_shared = False
        self.depth = 0
        self.parent: Saved | None = None
        self.written = 0

    def copy(self) -> "Machine":
        """Return the same, to go another way."""
        other = Machine.__new__(Machine)
        other.registers, other.access, other.contexts = self.registers.copy(), self.access, ()
        other.stack, other.depth, other.parent, other.written = self.stack, self.depth, self.parent, self.written
        self.is_shared = other.is_shared = True
        return other

    def save(self) -> Saved:
        """Keep the state, and go on as its child."""
        saved = Saved(self)
        self.is_shared = True
        self.parent, self.written = saved, 0
        return saved

    def mark_read(self, bits: int) -> None:
        """Note that registers or slots are read: by all states before, up to where they were written."""
        bits &= ~self.written
        parent = self.parent
        while bits and parent is not None:
            bits &= ~parent.read
            parent.read |= bits
            bits &= ~parent.written
            parent = parent.parent

    def read(self, number: int) -> Register:
        """Return what a register holds."""
        register = self.registers[number]
        if register.kind == NOTHING:
            raise Refused(f"a read of register {number}, which holds nothing")
        return register

    def put(self, slot: int, content: Slot) -> None:
        """Replace a slot of the stack, the first being that nearest to the frame's end."""
        if self.is_shared:
            self.stack = dict(self.stack)
            self.is_shared = False
        self.stack[slot] = content
        if slot >= self.depth:
            self.depth = slot + 1
