"""Archives, and batteries as they lie on the disk."""

import io
import lzma
import shutil
import tarfile
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.kinds import Case, kind
from tests.fuzz.mutation import NUMBERS, mutate_bytes
from tests.support.batteries import write_battery
from traceleft.battery.archive import pack_battery, unpack_battery
from traceleft.battery.verify import verify_battery

NAMES: Final = ("../x", "/etc/x", "manifest.json", "objects/ab/x.o", "x" * 99, "schemas/../../x", "manifest.sig", "")
TYPES: Final = (b"0", b"1", b"2", b"3", b"5", b"6", b"S", b"L", b"x", b"g", b"\0")


@kind("archive", 8)
def archives(directory: Path) -> Case:
    packed = directory / "sound.tar.xz"
    pack_battery(write_battery(directory / "battery"), packed)
    plain = lzma.decompress(packed.read_bytes())
    hostile, output = directory / "hostile.tar.xz", directory / "output"

    def run(random: Random) -> None:
        if random.random() < 0.3:
            hostile.write_bytes(mutate_bytes(random, packed.read_bytes()))
        else:
            tar = _other_members(random, plain) if random.random() < 0.6 else mutate_bytes(random, plain)
            hostile.write_bytes(lzma.compress(tar, preset=0))
        shutil.rmtree(output, ignore_errors=True)
        try:
            unpack_battery(hostile, output)
        finally:
            left = {path.name for path in directory.iterdir()} - {"battery", "output", packed.name, hostile.name}
            assert not left, f"unpacking left {left}"

    return run


def _other_members(random: Random, plain: bytes) -> bytes:
    """Return an archive with members of other names, kinds, sizes and contents."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as sound:
        members = [(member, sound.extractfile(member)) for member in sound]
        for member, file in random.sample(members, len(members)):
            data = file.read() if file else b""
            match random.randrange(8):
                case 0:
                    member.name = random.choice(NAMES)
                case 1:
                    member.type, member.linkname = random.choice(TYPES), random.choice(NAMES)
                case 2:
                    data = mutate_bytes(random, data)
                case 3:
                    made.write(_header(member, random.choice(NUMBERS)))
                    continue
                case 4:
                    continue
            made.write(_header(member, len(data)) + data + bytes(-len(data) % 512))
    return made.getvalue() + bytes(random.choice((0, 512, 1024, 4096)))


def _header(member: tarfile.TarInfo, size: int) -> bytes:
    member.size = max(0, min(size, (1 << 33) - 1))
    return member.tobuf(tarfile.USTAR_FORMAT, errors="replace")


@kind("battery", 4)
def batteries(directory: Path) -> Case:
    battery = write_battery(directory / "battery")
    files = sorted(path for path in battery.rglob("*") if path.is_file())

    def run(random: Random) -> None:
        file = random.choice(files)
        sound = file.read_bytes()
        try:
            file.write_bytes(mutate_bytes(random, sound))
            verify_battery(battery)
        finally:
            file.write_bytes(sound)

    return run
