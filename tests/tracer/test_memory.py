"""The sizes of buffers."""

import pytest

from traceleft.errors import UnsupportedError
from traceleft.tracer.kernel.memory import PAGE_BYTES, choose_perf_pages, choose_queue_bytes, choose_ring_pages

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(("asked", "pages"), [(1, 1), (3, 4), (64, 64), (65, 128)])
def test_buffer_pages_are_rounded_up_to_a_power_of_two(asked: int, pages: int) -> None:
    assert choose_ring_pages(asked) == pages


@pytest.mark.parametrize("asked", [0, -1, 1 << 30])
def test_absurd_buffer_is_refused(asked: int) -> None:
    with pytest.raises(UnsupportedError):
        choose_ring_pages(asked)


@pytest.mark.parametrize(
    ("cpus", "memory", "mib"),
    [
        pytest.param(1, 8 * GIB, 8, id="one CPU"),
        pytest.param(2, 8 * GIB, 16, id="two CPUs"),
        pytest.param(3, 8 * GIB, 16, id="rounded down"),
        pytest.param(256, 512 * GIB, 32, id="large"),
        pytest.param(4, GIB, 16, id="little memory"),
        pytest.param(4, 32 * MIB, 1, id="tiny"),
    ],
)
def test_ring_follows_the_machine(cpus: int, memory: int, mib: int) -> None:
    assert choose_ring_pages(None, cpus=cpus, memory_bytes=memory) * PAGE_BYTES == mib * MIB


@pytest.mark.parametrize(
    ("asked", "cpus", "pages"),
    [(1, 2, 1), (1, 1, 1), (8, 2, 4), (9, 2, 8), (64, 3, 32), (1 << 18, 1, 1 << 18)],
)
def test_pages_are_shared_among_the_cpus(asked: int, cpus: int, pages: int) -> None:
    assert choose_perf_pages(asked, cpus) == pages


def test_ring_of_a_cpu_has_room_for_any_record_by_default() -> None:
    assert choose_perf_pages(None, 1 << 14) == 32


@pytest.mark.parametrize("cpus", [1, 2, 3, 5, 64])
def test_rings_of_all_cpus_are_bounded_together_by_default(cpus: int) -> None:
    assert choose_perf_pages(None, cpus) * cpus * PAGE_BYTES <= 16 * MIB


@pytest.mark.parametrize(
    ("asked", "memory", "wanted"), [(None, 8 * GIB, 32 * MIB), (None, GIB, 16 * MIB), (None, MIB, 4 * MIB), (7, GIB, 7)]
)
def test_queue_follows_the_memory(asked: int | None, memory: int, wanted: int) -> None:
    assert choose_queue_bytes(asked, memory_bytes=memory) == wanted
