"""What clang sees is what generate renders from the schema, whoever wrote the directory."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import TESTS
from traceleft.battery.builder.build import build
from traceleft.battery.builder.generated_source import read_sources
from traceleft.battery.builder.rendered import render_tree
from traceleft.cli import main as cli
from traceleft.errors import FormatError
from traceleft.generator import generate

FORMATS = TESTS / "data/formats/6.18.44.json.xz"
EVENTS = ["execve", "openat", "readv", "recvmsg", "read", "getsockopt", "statx", "pipe2", "sched:sched_process_exec"]
SECRET = "0x5ec2e7"
INJECTED = f'0]; __asm__(".incbin \\"/etc/shadow\\""); /* {SECRET} */ x[0'


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("generated") / "sources"
    generate(FORMATS, expressions=EVENTS, output=directory)
    return directory


@pytest.fixture
def sources(generated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(generated, tmp_path / "sources"))


def test_generated_sources_are_what_their_schema_renders(generated: Path) -> None:
    files = render_tree(read_sources(generated))

    assert {name: (generated / name).read_text() for name in files} == files
    assert {"core.c", "openat.bpf.c", "include/maps.h"} <= files.keys()


def test_file_that_a_source_includes_by_assembly_is_refused(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text(SECRET)
    with (sources / "openat.bpf.c").open("a") as file:
        file.write(f'__asm__(".section license\\n.incbin \\"{tmp_path / "shadow"}\\"\\n.text");\n')

    with pytest.raises(FormatError) as caught:
        build(sources, tmp_path / "battery", levels=["5.8"])

    assert str(caught.value) == (
        f"{sources / 'openat.bpf.c'}: is not what generate renders from the schema; "
        "run traceleft generate again, or give --foreign-sources if they are meant to differ"
    )
    assert not (tmp_path / "battery").exists()


@pytest.mark.parametrize("name", ["core.c", "readv.bpf.c", "include/maps.h", "include/more.h"])
def test_every_file_that_differs_is_named(sources: Path, tmp_path: Path, name: str) -> None:
    with (sources / name).open("a") as file:
        file.write("/* mine */\n")

    with pytest.raises(FormatError, match="is not what generate renders") as caught:
        build(sources, tmp_path / "battery", levels=["5.8"])

    assert caught.value.file == str(sources / name)


def test_foreign_sources_are_built_for_those_who_mean_it(sources: Path, tmp_path: Path) -> None:
    with (sources / "openat.bpf.c").open("a") as file:
        file.write("/* mine */\n")
    command = ["build", str(sources), "-o", str(tmp_path / "battery"), "--level", "5.8"]

    assert cli.main(command) == 1
    assert cli.main([*command, "--foreign-sources"]) == 0


def test_foreign_sources_may_trace_and_no_more(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sources / "openat.bpf.c"
    signal = "((long (*)(long))109)(9); return emit(config, &call);"
    path.write_text(path.read_text().replace("return emit(config, &call);", signal))
    command = ["build", str(sources), "-o", str(tmp_path / "battery"), "--level", "5.8", "--foreign-sources"]

    assert cli.main(command) == 1
    assert "openat.bpf.c: program raw_exit_openat calls bpf_send_signal (helper 109), which handlers may not" in (
        capsys.readouterr().err
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a document that holds nothing itself."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))
    if not isinstance(value, dict | list):
        yield path


def put(document: Any, path: tuple[Any, ...], value: object) -> Any:
    """Return a copy with another value at a place."""
    changed = copy.deepcopy(document)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def small_schema(sources: Path) -> dict[str, Any]:
    """Return the schema of a directory, less what C is not made of."""
    document: dict[str, Any] = json.loads((sources / "schema.json").read_bytes())
    structs = {name: {"size": each["size"]} for name, each in document["tables"]["structs"].items()}
    return document | {"tables": {"structs": structs}}


def test_nothing_of_a_schema_reaches_c_but_numbers_and_names(sources: Path) -> None:
    schema = small_schema(sources)
    refused = 0
    for path in leaves(schema):
        (sources / "schema.json").write_text(json.dumps(put(schema, path, INJECTED)))
        try:
            render_tree(read_sources(sources))
        except FormatError as exc:
            assert "\n" not in str(exc)
            refused += "is not what generate renders" not in str(exc)

    assert refused > 100


@pytest.mark.parametrize("value", [None, -1, 1 << 40, [], {}, "asm"], ids=str)
def test_any_schema_is_refused_in_one_line(sources: Path, value: object) -> None:
    schema = small_schema(sources)
    for path in leaves(schema["events"]["openat"]):
        (sources / "schema.json").write_text(json.dumps(put(schema, ("events", "openat", *path), value)))
        try:
            render_tree(read_sources(sources))
        except FormatError as exc:
            assert "\n" not in str(exc)
