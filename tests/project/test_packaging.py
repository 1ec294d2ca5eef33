"""What is shipped: every file that the code needs, and nothing else."""

import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = ("aggregator", "battery", "generator", "templates", "tracer")
# Sources of the native modules: compiled, not shipped in a wheel.
NOT_SHIPPED = {".c", ".h", ".pyc", ".so"}


def needed_files() -> set[str]:
    """Return the files of the layers that belong into a wheel, as paths below ``traceleft/``."""
    found = {path.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.is_file()}
    return {
        f"traceleft/{path}"
        for path in found
        if "__pycache__" not in path.parts and (path.parts[0] == "templates" or path.suffix not in NOT_SHIPPED)
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """Build a wheel from a copy of what git tracks."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(
        ["tar", "-c", "--null", "-T", "-", "-f", str(output / "tree.tar")], cwd=ROOT, input=listing, check=True
    )
    subprocess.run(["tar", "-x", "-f", str(output / "tree.tar")], cwd=source, check=True)
    (source / "build" / "battery").mkdir(parents=True)
    (source / "build" / "battery" / "manifest.json").write_text("{}")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(output), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return zipfile.Path(next(output.glob("*.whl")))


def test_wheel_holds_every_file_of_the_layers(wheel: zipfile.Path) -> None:
    names = set(wheel.root.namelist())

    assert needed_files() - names == set()


def test_wheel_holds_nothing_outside_the_package(wheel: zipfile.Path) -> None:
    tops = {name.split("/")[0] for name in wheel.root.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"traceleft"}
    assert not any("manifest.json" in name for name in wheel.root.namelist())


def test_wheel_holds_the_native_modules_and_the_licences(wheel: zipfile.Path) -> None:
    names = wheel.root.namelist()

    for module in ("battery/_object", "tracer/_native"):
        assert any(name.startswith(f"traceleft/{module}.") and name.endswith(".so") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/LICENSES/GPL-2.0.txt") for name in names)


def test_every_directory_of_code_is_a_listed_package() -> None:
    directories = {path.resolve().parent.relative_to(ROOT) for path in (ROOT / "traceleft").rglob("*.py")}
    directories |= {path.parent.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*.py")}
    listed = PROJECT["tool"]["setuptools"]["packages"]

    assert sorted(
        {".".join(("traceleft", *path.parts)).replace("traceleft.traceleft", "traceleft") for path in directories}
    ) == sorted(listed)


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_is_reached_through_a_relative_link(layer: str) -> None:
    link = ROOT / "traceleft" / layer

    assert link.is_symlink()
    assert str(link.readlink()) == f"../{layer}"


def test_a_tracing_host_needs_no_template_engine_and_no_parser() -> None:
    dependencies = " ".join(PROJECT["project"]["dependencies"])

    assert not any(name in dependencies for name in ("jinja2", "pycparser", "pyelftools"))


def test_every_c_template_says_that_it_is_gpl() -> None:
    sources = [path for path in sorted((ROOT / "templates").rglob("*")) if {".c", ".h"} & set(path.suffixes)]

    assert sources
    assert [str(p) for p in sources if "SPDX-License-Identifier: GPL-2.0" not in p.read_text()[:400]] == []
