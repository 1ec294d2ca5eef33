"""What arguments mean: the document against the captures, the tables and known facts."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.paths import ROOT, TESTS
from traceleft.errors import FormatError
from traceleft.generator.declarations import SCALAR_KINDS, SLOT_KINDS, Meaning, parse_declarations, plain_type
from traceleft.generator.meaning import (
    declared_meaning,
    entry_of,
    load_declarations,
    meaning,
    return_meaning,
    tracepoint_meaning,
)

DATA = ROOT / "generator" / "data"
CAPTURES = json.loads((TESTS / "data" / "arguments-by-release.json").read_text())
Tables = dict[str, dict[str, dict[str, object]]]
PROTOTYPES = sorted(
    {
        (name, tuple((type_, argument) for type_, argument in arguments))
        for capture in CAPTURES.values()
        for name, arguments in capture.items()
    }
)


@pytest.fixture(scope="module")
def tables() -> Tables:
    """Return the shipped tables of sets and structs."""
    loaded: Tables = json.loads((DATA / "tables.json").read_text())
    return loaded


def is_address(type_: str) -> bool:
    return "*" in type_ or type_ in ("cap_user_header_t", "cap_user_data_t", "const cap_user_data_t")


def means(name: str) -> list[Meaning]:
    """Return the meanings of a syscall's arguments as its newest capture has them."""
    arguments = next(capture[name] for capture in reversed(CAPTURES.values()) if name in capture)
    return [
        meaning(name, index=index, name=argument, type=type_, is_pointer=is_address(type_), arguments=len(arguments))
        for index, (type_, argument) in enumerate(arguments)
    ]


def names_in(declared: object, key: str) -> Iterator[str]:
    """Yield every set (`key` is `set`) or struct (`struct`) that a meaning refers to, however deep."""
    if isinstance(declared, Mapping):
        for inner_key, inner in declared.items():
            if inner_key == key and isinstance(inner, str):
                yield inner
            else:
                yield from names_in(inner, key)


def every_meaning() -> Iterator[Meaning]:
    """Yield whatever the document declares."""
    declarations = load_declarations()
    for entries in declarations.arguments.values():
        yield from (entry.meaning for entry in entries.values())
    yield from (rule.meaning for rule in declarations.rules)
    yield from (rule.meaning for rule in declarations.fields)


def names_at(syscall: str, index: int) -> set[str]:
    return {
        arguments[index][1]
        for capture in CAPTURES.values()
        for arguments in [capture.get(syscall, [])]
        if index < len(arguments)
    }


def test_every_named_syscall_and_argument_exists_in_some_capture() -> None:
    declared = {
        (syscall, index, name)
        for syscall, entries in load_declarations().arguments.items()
        for index, entry in entries.items()
        for name in entry.names
    }

    missing = {(syscall, index, name) for syscall, index, name in declared if name not in names_at(syscall, index)}

    assert missing == set()


def test_every_name_that_an_argument_has_had_is_given() -> None:
    unnamed = {
        (syscall, index, name)
        for syscall, entries in load_declarations().arguments.items()
        for index, entry in entries.items()
        for name in names_at(syscall, index)
        if name not in entry.names
    }

    assert unnamed == set()


def test_every_syscall_of_the_document_exists() -> None:
    syscalls = {name for capture in CAPTURES.values() for name in capture}
    declarations = load_declarations()

    assert (declarations.arguments.keys() | declarations.returns.keys()) - syscalls == set()


def test_every_rule_covers_some_argument() -> None:
    seen = {(plain_type(type_), name) for _, arguments in PROTOTYPES for type_, name in arguments}

    idle = [rule for rule in load_declarations().rules if not any(rule.covers(type_, name) for type_, name in seen)]

    assert idle == []


def test_every_name_of_a_rule_is_needed() -> None:
    seen = {name for _, arguments in PROTOTYPES for _, name in arguments}

    assert {name for rule in load_declarations().rules for name in rule.names} - seen == set()


@pytest.mark.parametrize(("key", "table"), [("set", "sets"), ("struct", "structs")])
def test_every_set_and_struct_is_in_the_tables(tables: Tables, key: str, table: str) -> None:
    used = {name for declared in every_meaning() for name in names_in(declared, key)}

    assert used
    assert used - tables[table].keys() == set()


def test_sizes_of_array_elements_are_those_of_the_tables(tables: Tables) -> None:
    differing = {
        element["struct"]: declared["size"]
        for declared in every_meaning()
        if declared["kind"] == "array"
        for element in [declared["element"]]
        if isinstance(element, dict) and element["kind"] == "struct"
        if tables["structs"][element["struct"]]["size"] != declared["size"]
    }

    assert differing == {}


def test_lengths_refer_to_integers_and_pointers_that_exist() -> None:
    wrong = [
        (syscall, name)
        for syscall, arguments in PROTOTYPES
        for index, (type_, name) in enumerate(arguments)
        for declared in [declared_meaning(syscall, index=index, name=name, type=type_)]
        if declared is not None
        for length in [declared.get("length")]
        if isinstance(length, dict)
        for key, is_pointer in (("arg", False), ("pointer", True))
        if key in length and (length[key] >= len(arguments) or ("*" in arguments[length[key]][0]) != is_pointer)
    ]

    assert wrong == []


def test_what_is_declared_agrees_with_the_types_of_all_captures() -> None:
    overruled = [
        (syscall, name, declared)
        for syscall, arguments in PROTOTYPES
        for index, (type_, name) in enumerate(arguments)
        for declared in [declared_meaning(syscall, index=index, name=name, type=type_)]
        if declared is not None
        and declared
        != meaning(syscall, index=index, name=name, type=type_, is_pointer=is_address(type_), arguments=len(arguments))
    ]

    assert overruled == []


def test_no_pointer_remains_a_bare_address_unless_declared_so() -> None:
    bare = [
        (syscall, name)
        for syscall, arguments in PROTOTYPES
        for index, (type_, name) in enumerate(arguments)
        if is_address(type_) and declared_meaning(syscall, index=index, name=name, type=type_) is None
    ]

    assert bare == []


def test_few_pointers_are_declared_bare() -> None:
    pointers = [
        declared_meaning(syscall, index=index, name=name, type=type_)
        for syscall, arguments in PROTOTYPES
        for index, (type_, name) in enumerate(arguments)
        if is_address(type_)
    ]

    bare = [declared for declared in pointers if declared == {"kind": "pointer"}]

    assert len(bare) < len(pointers) / 10


@pytest.mark.parametrize(
    ("syscall", "kinds"),
    [
        ("openat", ["dirfd", "path", "set", "mode"]),
        ("execve", ["path", "strings", "strings"]),
        ("execveat", ["dirfd", "path", "strings", "strings", "set"]),
        ("read", ["fd", "buffer", "int"]),
        ("write", ["fd", "buffer", "int"]),
        ("writev", ["fd", "iovec", "int"]),
        ("accept4", ["fd", "sockaddr", "value", "set"]),
        ("recvfrom", ["fd", "buffer", "int", "set", "sockaddr", "value"]),
        ("sendmsg", ["fd", "msghdr", "set"]),
        ("epoll_wait", ["fd", "array", "int", "int"]),
        ("epoll_pwait", ["fd", "array", "int", "int", "sigset", "int"]),
        ("clone3", ["struct", "int"]),
        ("mmap", ["pointer", "int", "set", "set", "fd", "hex"]),
        ("munmap", ["pointer", "int"]),
        ("brk", ["pointer"]),
        ("futex", ["pointer", "set", "int", "struct", "pointer", "hex"]),
        ("select", ["int", "fdset", "fdset", "fdset", "struct"]),
        ("rt_sigprocmask", ["set", "sigset", "sigset", "int"]),
        ("wait4", ["pid", "value", "set", "struct"]),
        ("statx", ["dirfd", "path", "set", "set", "struct"]),
        ("getcwd", ["path", "int"]),
        ("setxattr", ["path", "text", "buffer", "int", "set"]),
        ("mount", ["text", "path", "text", "set", "text"]),
        ("chown", ["path", "uid", "uid"]),
        ("kill", ["pid", "set"]),
        ("ioctl", ["fd", "set", "hex"]),
        ("capget", ["struct", "array"]),
        ("symlinkat", ["path", "dirfd", "path"]),
        ("landlock_restrict_self", ["fd", "set"]),
        ("exit_group", ["int"]),
    ],
)
def test_kinds_of_a_syscalls_arguments(syscall: str, kinds: list[str]) -> None:
    assert [found["kind"] for found in means(syscall)] == kinds


def test_read_buffer_is_as_long_as_the_result() -> None:
    assert means("read")[1] == {
        "kind": "buffer",
        "direction": "out",
        "at": "exit",
        "length": {"ret": True, "arg": 2},
    }


def test_accepted_address_is_as_long_as_the_kernel_says() -> None:
    address, length = means("accept4")[1:3]

    assert address["length"] == {"pointer": 2, "width": 4}
    assert (length["direction"], length["at"]) == ("inout", "entry")
    assert length["element"] == {"kind": "int", "width": 4, "signed": True}


def test_epoll_events_are_packed_structs() -> None:
    events = means("epoll_wait")[1]

    assert events["element"] == {"kind": "struct", "struct": "epoll_event"}
    assert events["size"] == 12


def test_polled_files_are_read_once_at_exit() -> None:
    assert (means("poll")[0]["direction"], means("poll")[0]["at"]) == ("in", "exit")


def test_remainder_of_a_sleep_is_read_though_it_was_interrupted() -> None:
    request, remainder = means("nanosleep")

    assert request["at"] == "entry"
    assert (remainder["on_error"], remainder["on_zero"]) == ([4, 516], False)


def test_renamed_argument_means_the_same() -> None:
    old = meaning("getrandom", index=0, name="buf", type="char *", is_pointer=True, arguments=3)
    new = meaning("getrandom", index=0, name="ubuf", type="char *", is_pointer=True, arguments=3)

    assert old == new


@pytest.mark.parametrize(
    ("type_", "plain"),
    [
        ("const clockid_t", "clockid_t"),
        ("const struct mnt_id_req *const", "const struct mnt_id_req *"),
        ("const  char *", "const char *"),
        ("const char *const *", "const char *const *"),
    ],
)
def test_plain_type_drops_what_does_not_matter(type_: str, plain: str) -> None:
    assert plain_type(type_) == plain


def test_argument_of_another_type_than_declared_is_shown_by_its_type() -> None:
    assert meaning("openat", index=1, name="filename", type="int", is_pointer=False) == {"kind": "int"}
    assert meaning("openat", index=2, name="flags", type="void *", is_pointer=True) == {"kind": "pointer"}


def test_length_beyond_the_arguments_is_not_followed() -> None:
    assert meaning("read", index=1, name="buf", type="char *", is_pointer=True, arguments=2) == {"kind": "pointer"}


def test_unknown_syscall_gets_integers_and_addresses() -> None:
    assert meaning("brandnew", index=0, name="what", type="long", is_pointer=False) == {"kind": "int"}
    assert meaning("brandnew", index=1, name="where", type="struct new *", is_pointer=True) == {"kind": "pointer"}


def test_unknown_syscall_follows_the_rules() -> None:
    assert meaning("brandnew", index=0, name="pathname", type="const char *", is_pointer=True)["kind"] == "path"


@pytest.mark.parametrize(
    ("syscall", "kind"),
    [("openat", "fd"), ("accept", "fd"), ("mmap", "pointer"), ("umask", "mode"), ("getpid", "pid"), ("read", "int")],
)
def test_kind_of_the_return_value(syscall: str, kind: str) -> None:
    assert return_meaning(syscall)["kind"] == kind


@pytest.mark.parametrize(
    ("syscall", "entry"),
    [
        ("openat", "none"),
        ("read", "none"),
        ("execve", "save"),
        ("execveat", "save"),
        ("exit", "emit"),
        ("exit_group", "emit"),
        ("rt_sigreturn", "number"),
        ("select", "save"),
        ("accept", "save"),
        ("nanosleep", "save"),
        ("poll", "none"),
    ],
)
def test_what_happens_at_entry(syscall: str, entry: str) -> None:
    assert entry_of(syscall, means(syscall)) == entry


def test_argument_of_fcntl_depends_on_the_command() -> None:
    assert {"open_flags", "fd_flags"} <= set(names_in(means("fcntl")[2], "set"))


def test_value_of_a_socket_option_depends_on_level_and_name() -> None:
    for syscall in ("getsockopt", "setsockopt"):
        levels: Any = meaning(syscall, index=3, name="optval", type="char *", is_pointer=True)["cases"]
        by_name = levels["kinds"]["1"]["cases"]

        assert (levels["arg"], by_name["arg"]) == (1, 2)
        assert levels["kinds"]["1"]["element"]["kind"] == "int"
        assert by_name["kinds"]["13"] == {"kind": "struct", "struct": "linger"}
        assert by_name["kinds"]["25"] == {"kind": "text"}


def test_result_of_fcntl_depends_on_the_command() -> None:
    cases: Any = return_meaning("fcntl")["cases"]

    assert (cases["arg"], cases["kinds"]["3"]["set"], cases["kinds"]["0"]["kind"]) == (1, "open_flags", "fd")
    assert return_meaning("fcntl", arguments=1) == {"kind": "int"}


def test_borrowed_prototypes_are_those_of_a_newer_capture() -> None:
    borrowed = tomllib.loads((DATA / "borrowed.toml").read_text())["syscall"]

    assert borrowed.keys() == {"execve", "execveat", "clone", "fork", "vfork", "rt_sigreturn", "arch_prctl"}
    assert {name: prototype["arguments"] for name, prototype in borrowed.items()} == {
        name: CAPTURES["6.18.44"][name] for name in borrowed
    }


def field(event: str, name: str, type_: str, size: int, element_width: int | None = None) -> Meaning:
    return tracepoint_meaning(event, name=name, type=type_, size=size, element_width=element_width)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (field("sched:sched_switch", "prev_comm", "char", 16, 1), ("bytes", "text")),
        (field("sock:inet_sock_set_state", "saddr", "__u8", 4, 1), ("bytes", "ipv4")),
        (field("sock:inet_sock_set_state", "daddr_v6", "__u8", 16, 1), ("bytes", "ipv6")),
        (field("tcp:tcp_probe", "saddr", "__u8", 28, 1), ("bytes", "hex")),
        (field("sock:inet_sock_set_state", "newstate", "int", 4), ("set", "tcp_state")),
        (field("sock:inet_sock_set_state", "protocol", "__u16", 2), ("set", "ip_protocol")),
        (field("net:netif_rx_entry", "protocol", "u16", 2), ("int", None)),
        (field("signal:signal_generate", "sig", "int", 4), ("set", "signal")),
        (field("sched:sched_switch", "prev_pid", "pid_t", 4), ("pid", None)),
    ],
)
def test_fields_of_tracepoints(found: Meaning, expected: tuple[str, str | None]) -> None:
    assert (found["kind"], found.get("show", found.get("set"))) == expected


def test_array_of_numbers_is_a_list() -> None:
    found = tracepoint_meaning(
        "sock:sock_exceed_buf_limit", name="sysctl_mem", type="long", size=24, signed=True, element_width=8
    )

    assert found["element"] == {"kind": "int", "width": 8, "signed": True}
    assert found["count"] == 3


def test_located_text_is_text_and_file_names_are_paths() -> None:
    name = tracepoint_meaning("net:netif_rx", name="name", type="__data_loc char[]", size=4, is_data_loc=True)
    file = tracepoint_meaning(
        "sched:sched_process_exec", name="filename", type="__data_loc char[]", size=4, is_data_loc=True
    )
    data = tracepoint_meaning("x:y", name="data", type="__data_loc u8[]", size=4, is_data_loc=True)

    assert (name["kind"], file["kind"], data["kind"]) == ("text", "path", "bytes")


def test_field_of_odd_size_is_bytes() -> None:
    assert field("x:y", "sig", "struct thing", 24)["kind"] == "bytes"


def test_shipped_document_uses_every_key_that_it_declares() -> None:
    text = (DATA / "arguments.toml").read_text()
    declared = re.findall(
        r"^(\w+) = \{ (?:kind|set|struct) = .*width = |^(\w+) = \{ struct = \"\w+\", size", text, re.M
    )
    cases = re.findall(r"^\[cases\.(\w+)\]", text, re.M)

    unused = [name for pair in declared for name in pair if name and f'element = "{name}"' not in text]
    unused += [name for name in cases if f'cases = "{name}"' not in text]

    assert unused == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= nonsense", "Invalid"),
        ("[other]", "unknown key other"),
        ('[syscall.x]\n"9 fd" = "fd"', "INDEX NAME"),
        ('[syscall.x]\n"0 a" = "fd"\n"0 b" = "fd"', "twice"),
        ('[syscall.x]\n"0 a" = "file"', "unknown kind"),
        ('[syscall.x]\n"0 a" = { kind = ["int"] }', "unknown kind"),
        ('[syscall.x]\n"0 a" = { kind = "int", colour = "red" }', "unknown key colour"),
        ('[syscall.x]\n"0 a" = { kind = "buffer" }', "needs length"),
        ('[syscall.x]\n"0 a" = { kind = "buffer", length = { arg = 6 } }', "no argument 6"),
        ('[syscall.x]\n"0 a" = { kind = "buffer", length = { args = 1 } }', "no length"),
        ('[syscall.x]\n"0 a" = { kind = "path", direction = "up" }', "direction"),
        ('[syscall.x]\n"0 a" = { kind = "value", element = "s31" }', "not declared"),
        ('[syscall.x]\n"0 a" = { kind = "int", cases = "none" }', "not declared"),
        ('[syscall.x]\n"0 a" = {}', "no kind"),
        ('[syscall.x]\nret = "path"', "ret cannot be"),
        ('[[rule]]\nmeaning = "fd"', "needs types"),
        ('[[rule]]\ntypes = [1]\nmeaning = "fd"', "must be a list of names"),
        ('[cases.c]\narg = 1\nx = "int"', "number to a scalar"),
        ('[cases.c]\narg = 1\nnone = [2]\n2 = "int"', "none lists a number that has a case"),
        ("[cases.c]\narg = 1\nnone = 2", "2 is not a list"),
        ('[cases.c]\narg = 1\nnone = ["2"]', "'2' is not a number"),
        ('rule = "x"', "no list of tables"),
        ("syscall = 1", "no table"),
    ],
)
def test_malformed_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"arguments\.toml: .*{message}"):
        parse_declarations(text, file="arguments.toml")


def test_kinds_have_a_slot_or_have_none() -> None:
    assert SCALAR_KINDS.isdisjoint(SLOT_KINDS)
