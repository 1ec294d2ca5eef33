"""The pages that `make docs` builds: nothing is loaded from elsewhere, and what is broken ends the build."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.browser import needs_chromium, see
from tests.support.paths import ROOT

LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}
ELSEWHERE = re.compile(r"^(?:https?:)?//")
CSS_LOADS = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^)\"'\s]+)")


def build(place: Path, docs: Path = ROOT / "docs") -> subprocess.CompletedProcess[str]:
    """Build the site of these pages strictly."""
    config = place / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text().replace("docs_dir: docs", f"docs_dir: {docs}")
    config.write_text(text.replace('paths: ["."]', f'paths: ["{ROOT}"]'))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(place / "site")]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = build(place)
    assert done.returncode == 0, done.stderr
    return place / "site"


class Loads(HTMLParser):
    """Collects the addresses that a page loads by itself; links to be followed are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_style = tag == "style"
        # A canonical address is named, not loaded.
        if tag in LOADING and values.get("rel") != "canonical":
            self.found.append(values.get(LOADING[tag], ""))
        self.found += CSS_LOADS.findall(values.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.found += CSS_LOADS.findall(data)


def loads_from_elsewhere(html: str) -> list[str]:
    """Return the addresses of other machines that a page loads."""
    parser = Loads()
    parser.feed(html)
    return [address for address in parser.found if ELSEWHERE.match(address)]


def pages_of(site: Path) -> Iterator[Path]:
    yield from sorted(site.rglob("*.html"))


def test_every_page_of_the_documentation_is_built(site: Path) -> None:
    built = {str(page.relative_to(site).with_suffix("")) for page in pages_of(site)}
    written = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")}

    assert built == written | {"404"}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    found = {page.name: loads for page in pages_of(site) if (loads := loads_from_elsewhere(page.read_text()))}
    styles = {style.name: loads for style in site.rglob("*.css") if (loads := CSS_LOADS.findall(style.read_text()))}

    assert (found, styles) == ({}, {})


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link rel="stylesheet" href="//example.org/a.css">',
        '<img alt="" src="http://example.org/a.png">',
        "<style>@import 'https://example.org/a.css';</style>",
        '<p style="background: url(https://example.org/a.png)">',
    ],
)
def test_load_from_elsewhere_is_found(html: str) -> None:
    assert len(loads_from_elsewhere(html)) == 1


@needs_chromium
@pytest.mark.parametrize("page", ["index.html", "tutorial.html", "reference/python.html"])
def test_page_works_from_a_file_without_a_request(page: str, site: Path) -> None:
    seen = see(site / page)

    assert "md-content" in seen.dom
    assert seen.requests == frozenset()
    assert [line for line in seen.console if "error" in line.lower()] == []


def test_python_page_shows_the_docstring_of_a_method(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text()

    assert 'id="traceleft.Tracer.run"' in page
    assert "Read events and call back until the trace ends." in page


def test_broken_link_ends_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    with (docs / "index.md").open("a") as page:
        page.write("\n[page](no-page.md) [anchor](tutorial.md#no-anchor) ![picture](no-picture.svg)\n")

    done = build(tmp_path, docs)

    assert done.returncode != 0
    assert [each for each in ("no-page.md", "#no-anchor", "no-picture.svg") if each not in done.stderr] == []
