"""Folded stacks: counted, as lines, as a tree, as a page."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.browser import needs_chromium, see
from traceleft.aggregator.pages import flame
from traceleft.aggregator.pages.flame import Folded, make_tree
from traceleft.aggregator.pages.report import flame_page
from traceleft.tracer.decode.stack import Frame, Stack

COUNTS = {"cat;main;read": 3, "cat;main;write": 2, "sh;main": 4, "cat": 1}
HOSTILE = "</script><img src=x onerror=document.title='owned'>"


def event(comm: str, stack: Stack | None) -> Any:
    return SimpleNamespace(comm=comm, stack=stack)


def stack(*names: str) -> Stack:
    return Stack((), tuple(Frame(place, name) for place, name in enumerate(reversed(names))))


def test_events_are_counted_by_thread_s_name_and_stack() -> None:
    folded = Folded()
    for each in ("a;b", "a;b", "c"):
        folded.add(event(each, stack("main", "read")))
    folded.add(event("c", Stack((), ())))
    folded.add(event("c", None))

    assert [*folded.lines()] == ["a:b;main;read 2", "c 1", "c;main;read 1"]
    assert folded.without == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flame, "STACKS_MAX", 2)
    folded = Folded()
    for name in ("a", "b", "c", "d", "a"):
        folded.add(event(name, stack("main")))

    assert [*folded.lines()] == ["[other stacks] 2", "a;main 2", "b;main 1"]


def test_tree_has_a_node_a_place_and_parents_first() -> None:
    tree = make_tree(COUNTS, root="all")

    paths = {"": ""}
    for number, name, parent in zip(tree.ids, tree.names, tree.parents, strict=True):
        paths[number] = f"{paths[parent]}/{name}"
    sizes = {paths[number]: value for number, value in zip(tree.ids, tree.values, strict=True)}
    assert sizes == {
        "/all": 10,
        "/all/cat": 6,
        "/all/cat/main": 5,
        "/all/sh": 4,
        "/all/sh/main": 4,
        "/all/cat/main/read": 3,
        "/all/cat/main/write": 2,
    }
    assert tree.parents.count("") == 1


def test_smallest_nodes_are_left_out_and_no_parent_of_one_that_is_kept() -> None:
    tree = make_tree(COUNTS, root="all", limit=4)

    assert tree.names == ("all", "cat", "main", "sh")
    assert set(tree.parents) <= {"", *tree.ids}


def test_tree_of_nothing_is_empty() -> None:
    assert make_tree({}, root="all").ids == ()
    assert "<html" in flame_page({})


@needs_chromium
def test_page_draws_every_frame_and_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(flame_page({**COUNTS, f"cat;{HOSTILE}": 5}))
    seen = see(tmp_path / "page.html")

    assert (seen.console, seen.requests) == ((), frozenset())
    assert seen.dom.count('class="slice') >= 8
    assert "<img" not in seen.dom
    assert "<title>Where calls were made from</title>" in seen.dom
    assert "15 events, 5 different stacks" in seen.dom
