"""Work that the kernel does for many at once: the verifier's, and the grace periods of what is detached."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

DETACHERS_MAX: Final = 64
Item = TypeVar("Item")
Result = TypeVar("Result")


def make_pool(workers: int) -> "ThreadPoolExecutor":
    """Return a pool of threads."""
    # Most traces need none, and its import is dear.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(max_workers=workers)


def run_all(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, keep: Callable[[Result], object]
) -> None:
    """Do all work and keep each result in the order of the items; of work that fails the first error is raised.

    After an error no work begins any more, and what was done by then is kept.
    """
    with make_pool(workers) as pool:
        running = [pool.submit(work, item) for item in items]
        kept = 0
        try:
            for each in running:
                keep(each.result())
                kept += 1
        except BaseException:
            pool.shutdown(cancel_futures=True)
            for each in running[kept:]:
                if each.done() and not each.cancelled() and each.exception() is None:
                    keep(each.result())
            raise


def detach_all(detachers: Iterable[Callable[[], object]]) -> None:
    """Detach at once what waits for a grace period of the kernel, tens of milliseconds each."""
    waiting = list(detachers)
    if waiting:
        with make_pool(min(len(waiting), DETACHERS_MAX)) as pool:
            list(pool.map(lambda detach: detach(), waiting))
