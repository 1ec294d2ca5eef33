"""clang: found or refused with a remedy, its errors in one line, its objects the same everywhere."""

import os
import threading
import time
from pathlib import Path

import pytest

from traceleft.battery.builder import compiler as compiler_module
from traceleft.battery.builder.compiler import Compiler, CompilerStopped, find_compiler, shared_flags
from traceleft.battery.objects.elf import inspect_object
from traceleft.errors import CompileError, UnsupportedError

SOURCE = """
#include "include/own.h"
struct { int (*type)[2]; int (*max_entries)[1]; unsigned *key; unsigned *value; } config SEC(".maps");
SEC("raw_tp") int program(void *ctx)
{
	return config.type != 0;
}
"""
HEADER = "#define SEC(name) __attribute__((section(name), used))\n"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write_sources(tmp_path / "sources")


def write_sources(directory: Path, source: str = SOURCE) -> Path:
    (directory / "include").mkdir(parents=True)
    (directory / "include/own.h").write_text(HEADER)
    (directory / "a.c").write_text(source)
    return directory


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def compile_and_strip(sources: Path, output: Path) -> bytes:
    compiler = find_compiler()
    compiler.compile(sources, "a.c", output, flags=shared_flags("little"))
    compiler.strip([output])
    return output.read_bytes()


def test_object_keeps_btf_and_loses_debug_data(sources: Path, tmp_path: Path) -> None:
    facts = inspect_object(compile_and_strip(sources, tmp_path / "a.o"))

    assert facts.has_btf
    assert not facts.has_debug


def test_object_is_the_same_wherever_its_source_lies(tmp_path: Path) -> None:
    near = write_sources(tmp_path / "near")
    far = write_sources(tmp_path / "far/away/from/it")

    objects = [compile_and_strip(directory, tmp_path / f"{directory.name}.o") for directory in (near, far)]

    assert objects[0] == objects[1]
    assert str(tmp_path).encode() not in objects[0]


def test_environment_of_the_caller_does_not_reach_clang(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = compile_and_strip(sources, tmp_path / "plain.o")
    monkeypatch.setenv("CPATH", "/usr/include")
    monkeypatch.setenv("CCC_OVERRIDE_OPTIONS", "+-DUNWANTED +-O0")

    assert compile_and_strip(sources, tmp_path / "other.o") == plain


def test_system_headers_are_out_of_reach(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources", "#include <stdint.h>\n")

    with pytest.raises(CompileError, match=r"^a\.c:1:10: fatal error: 'stdint\.h' file not found$"):
        compile_and_strip(sources, tmp_path / "a.o")


def test_first_diagnostic_is_the_message_and_the_log_is_whole(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources", "int f(void) { return first; }\nint g(void) { return second; }\n")

    with pytest.raises(CompileError) as caught:
        compile_and_strip(sources, tmp_path / "a.o")

    assert str(caught.value) == "a.c:1:22: error: use of undeclared identifier 'first'"
    assert "second" in caught.value.log
    assert caught.value.source == "a.c"


def test_warning_is_an_error(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "sources", "static int unused(void) { return 0; }\n")

    with pytest.raises(CompileError, match="unused"):
        compile_and_strip(sources, tmp_path / "a.o")


def test_clang_that_dies_is_told(sources: Path, tmp_path: Path) -> None:
    dying = Compiler(clang=str(script(tmp_path / "clang", "kill -9 $$")), strip="/bin/false", version="")

    with pytest.raises(CompileError, match=r"^a\.c: killed by signal 9$"):
        dying.compile(sources, "a.c", tmp_path / "a.o", flags=())


def test_clang_that_hangs_is_killed(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "COMPILE_TIMEOUT_S", 0.2)
    hanging = Compiler(clang=str(script(tmp_path / "clang", "sleep 60; true")), strip="/bin/false", version="")

    with pytest.raises(CompileError, match=r"took more than 0\.2 s and was killed"):
        hanging.compile(sources, "a.c", tmp_path / "a.o", flags=())


def test_clang_without_the_bpf_target_names_the_remedy(sources: Path, tmp_path: Path) -> None:
    says = "echo 'error: unable to create target: No available targets are compatible with triple \"bpfel\"'; exit 1"
    other = Compiler(clang=str(script(tmp_path / "clang", says)), strip="/bin/false", version="")

    with pytest.raises(UnsupportedError, match="cannot make eBPF objects: install it with: apt-get install"):
        other.compile(sources, "a.c", tmp_path / "a.o", flags=())


def test_stop_ends_what_runs_and_refuses_more(sources: Path, tmp_path: Path) -> None:
    hanging = Compiler(clang=str(script(tmp_path / "clang", "sleep 60; true")), strip="/bin/false", version="")
    threading.Timer(0.2, hanging.stop).start()
    began = time.monotonic()

    for _ in range(2):
        with pytest.raises(CompilerStopped):
            hanging.compile(sources, "a.c", tmp_path / "a.o", flags=())

    assert time.monotonic() - began < 10


def test_strip_of_what_is_no_object_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.o").write_text("no object")

    with pytest.raises(CompileError, match="llvm-strip"):
        find_compiler().strip([tmp_path / "a.o"])


def test_no_clang_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACELEFT_CLANG", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UnsupportedError, match="apt-get install clang llvm"):
        find_compiler()


def test_no_strip_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACELEFT_CLANG", str(script(tmp_path / "clang", "echo clang version 14.0.6")))
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UnsupportedError, match="llvm-strip is not installed: install it with: apt-get install"):
        find_compiler()


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("echo clang version 11.1.0", "is version 11, 12 or later is needed"),
        ("echo gcc 12", "does not tell a clang version"),
        ("exit 1", "does not tell a clang version"),
    ],
)
def test_unfit_clang_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, complaint: str
) -> None:
    monkeypatch.setenv("TRACELEFT_CLANG", str(script(tmp_path / "clang", says)))

    with pytest.raises(UnsupportedError, match=complaint):
        find_compiler()


def test_variable_that_names_no_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACELEFT_CLANG", "/nowhere/clang")

    with pytest.raises(UnsupportedError, match=r"\$TRACELEFT_CLANG is /nowhere/clang"):
        find_compiler()


def test_versioned_clang_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACELEFT_CLANG", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    script(tmp_path / "clang-16", "echo Debian clang version 16.0.1")
    script(tmp_path / "llvm-strip-16", "exit 0")

    found = find_compiler()

    assert found.version == "Debian clang version 16.0.1"
    assert os.path.basename(found.strip_path) == "llvm-strip-16"
