"""The file that each event is about."""

from tests.support.records import Capture, Record, encode
from tests.tracer.test_fdnames import SCHEMA, call, names
from traceleft.tracer import _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.output.event_paths import EventPaths
from traceleft.tracer.output.fdnames import FdNames, make_absolute

AT_FDCWD = -100


def records(*calls: bytes) -> _native.Records:
    return _native.Records(b"".join(calls))


def made(name: str, *args: int, ret: int = 0, path: bytes | None = None, pid: int = 10, status: int = 0) -> bytes:
    """Return a call's record; a status below 0 means a path that could not be read."""
    captures = {} if path is None and not status else {0: Capture(path or b"", status or None)}
    return encode(SCHEMA.events[name], Record((*args, *[0x1000] * bool(captures)), captures, ret=ret, ids=(pid,) * 4))


def resolve(*calls: bytes, fds: FdNames | None = None) -> list[str | None]:
    return EventPaths(SCHEMA.events.values(), SCHEMA.tables, fds or names()).resolve(records(*calls))


def test_path_is_resolved_by_its_directory_argument() -> None:
    assert resolve(
        made("openat", AT_FDCWD, path=b"/etc", ret=3),
        made("openat", 3, path=b"shadow", ret=4),
        made("read", 4),
        made("close", 4),
        made("read", 4),
    ) == ["/etc", "/etc/shadow", "/etc/shadow", "/etc/shadow", None]


def test_working_directory_resolves_what_has_no_other() -> None:
    assert resolve(
        made("openat", AT_FDCWD, path=b"shadow", ret=-2),
        made("chdir", path=b"/etc/x/.."),
        made("openat", AT_FDCWD, path=b"./shadow", ret=3),
        made("openat", AT_FDCWD, path=b"//etc//group", ret=4),
    ) == ["shadow", "/etc", "/etc/shadow", "/etc/group"]
    fds = names({"/proc/10/cwd": "/home"})
    assert resolve(made("openat", AT_FDCWD, path=b"a", ret=-13), fds=fds) == ["/home/a"]


def test_path_that_could_not_be_read_stays_its_address() -> None:
    assert resolve(made("chdir", path=b"/etc"), made("openat", AT_FDCWD, status=-14, ret=-14)) == ["/etc", "0x1000"]


def test_descriptor_of_no_file_has_no_path() -> None:
    fds = names({"/proc/10/fd/0": "pipe:[7]", "/proc/10/fd/1": "/dev/null"})

    assert resolve(made("read", 0), made("read", 1), made("read", 0xFFFFFFFF), made("read", 9), fds=fds) == [
        None,
        "/dev/null",
        None,
        None,
    ]


def test_child_has_its_parents_files_before_the_fork_has_returned() -> None:
    assert resolve(
        made("openat", AT_FDCWD, path=b"/a", ret=3),
        made("read", 3, pid=11),
        made("clone", ret=11),
        made("close", 3, pid=11),
        made("read", 3, pid=11),
        made("read", 3),
    ) == ["/a", "/a", None, "/a", None, "/a"]


def test_rounds_go_on_from_each_other() -> None:
    paths = EventPaths(SCHEMA.events.values(), SCHEMA.tables, names())

    assert paths.resolve(records(made("openat", AT_FDCWD, path=b"/a", ret=3))) == ["/a"]
    assert paths.resolve(records(made("read", 3))) == ["/a"]


def test_each_round_asks_proc_once_for_what_is_not_learned() -> None:
    asked: list[str] = []

    def read_link(path: str) -> bytes:
        asked.append(path)
        return b"/file"

    # Without close among the events, what a number means may change unseen.
    fds = FdNames(["read"], SCHEMA.events, read_link=read_link, read_parent=lambda pid: None, describe=lambda *_: "/f")
    paths = EventPaths([SCHEMA.events["read"]], SCHEMA.tables, fds)

    assert paths.resolve(records(*[made("read", 3)] * 100)) == ["/f"] * 100
    assert asked == ["/proc/10/fd/3"]
    assert paths.resolve(records(made("read", 3))) == ["/f"]
    assert len(asked) == 2


def test_batches_that_are_joined_keep_their_paths() -> None:
    spec = SCHEMA.events["read"]
    decoder = Decoder(spec, SCHEMA.tables)
    fixed = encode(spec, Record((3,)))
    batches = [Batch(decoder, fixed, b"", bytes(16), paths=[path]) for path in ("/a", None)]

    assert Batch.joined(batches).paths == ["/a", None]
    assert Batch.joined([batches[0], Batch(decoder, fixed, b"", bytes(16))]).paths is None


def test_absolute_paths_have_one_form() -> None:
    assert make_absolute("/etc", "../usr//lib/") == "/usr/lib"
    assert make_absolute("/", "a") == "/a"
    assert make_absolute(None, "//a/./b") == "/a/b"
    assert make_absolute(None, "a") is None
    assert make_absolute("pipe:[7]", "a") is None


def test_creat_names_its_descriptor() -> None:
    fds = names()

    assert fds.name(call("creat", path=b"/made", ret=5)) == {"ret": "/made"}
