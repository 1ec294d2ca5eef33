"""The account adds up, whatever the figures."""

from hypothesis import given
from hypothesis import strategies as st

from traceleft.tracer.account.ledger import Figures, KernelCounts, Ledger, ReaderCounts, add_tallies, make_ledger

KEYS = ("emitted", "delivered", "lost", "dropped", "undecodable", "unaccounted", "compat", "missed")
NAMES = {0: "read", 1: "write"}
TALLY = st.dictionaries(st.tuples(st.integers(0, 1), st.integers(0, 3)), st.integers(0, 1 << 40))


def make(**counts: dict[tuple[int, int], int]) -> Ledger:
    kernel = KernelCounts(emitted=counts.get("emitted", {}), lost=counts.get("lost", {}))
    reader = ReaderCounts(
        delivered=counts.get("delivered", {}),
        dropped=counts.get("dropped", {}),
        undecodable=counts.get("undecodable", {}),
    )
    return make_ledger(kernel, reader, NAMES)


def test_json_has_the_documented_keys_at_every_depth() -> None:
    document = make(emitted={(0, 2): 3}, delivered={(0, 2): 3}).to_json()

    assert tuple(document) == (*KEYS, "by_event", "by_cpu")
    assert document["by_event"] == {"read": dict(zip(KEYS, (3, 3, 0, 0, 0, 0, 0, 0), strict=True))}
    assert document["by_cpu"] == {"2": dict(zip(KEYS, (3, 3, 0, 0, 0, 0, 0, 0), strict=True))}


def test_what_vanished_is_unaccounted_and_not_lost() -> None:
    total = make(emitted={(0, 0): 10}, delivered={(0, 0): 4}, lost={(0, 0): 3}, dropped={(0, 0): 1}).total

    assert (total.lost, total.unaccounted) == (3, 2)


@given(emitted=TALLY, delivered=TALLY, lost=TALLY, dropped=TALLY, undecodable=TALLY)
def test_events_and_cpus_add_up_to_the_total(**counts: dict[tuple[int, int], int]) -> None:
    ledger = make(**counts)

    for lines in (ledger.by_event, ledger.by_cpu):
        assert sum(lines.values(), Figures()) == ledger.total
    total = ledger.total
    assert total.emitted == total.delivered + total.lost + total.dropped + total.undecodable + total.unaccounted
    assert total.emitted == sum(counts["emitted"].values())


def test_compat_and_missed_of_a_cpu_belong_to_no_event() -> None:
    kernel = KernelCounts(compat_by_cpu={0: 0, 1: 5}, missed_by_cpu={1: 2}, missed={(0, 0): 1})

    ledger = make_ledger(kernel, ReaderCounts(), NAMES)

    assert (ledger.total.compat, ledger.total.missed) == (5, 3)
    assert ledger.by_event == {"read": Figures(missed=1)}
    assert set(ledger.by_cpu) == {0, 1}


def test_gaps_count_numbers_that_were_given_and_never_seen() -> None:
    kernel = KernelCounts(sequences={(0, 0): 10, (0, 1): 2, (1, 0): 3})

    ledger = make_ledger(kernel, ReaderCounts(received={(0, 0): 7, (0, 1): 2, (1, 0): 3}), NAMES)

    assert ledger.gaps == 3


def test_gaps_survive_the_wrap_of_sequence_numbers() -> None:
    kernel = KernelCounts(sequences={(0, 0): 5})

    ledger = make_ledger(kernel, ReaderCounts(received={(0, 0): (1 << 32) + 3}), NAMES)

    assert ledger.gaps == 2


def test_unknown_event_appears_by_number() -> None:
    assert list(make(undecodable={(0x10000, 0): 1}).by_event) == ["65536"]


def test_line_shows_the_whole_account() -> None:
    line = str(make(emitted={(0, 0): 1200}, delivered={(0, 0): 1200}))

    assert line == "1,200 emitted, 1,200 delivered, 0 lost, 0 dropped, 0 undecodable, 0 unaccounted"


def test_clean_trace_warns_of_nothing() -> None:
    ledger = make(emitted={(0, 0): 1}, delivered={(0, 0): 1})

    assert ledger.warnings(buffer_pages=8) == ()
    assert not ledger.has_loss


def test_loss_names_the_option_and_a_value() -> None:
    kernel = KernelCounts(emitted={(0, 0): 5}, lost={(0, 0): 5}, sequences={(0, 0): 5})

    ledger = make_ledger(kernel, ReaderCounts(), NAMES)

    assert ledger.warnings(buffer_pages=8) == ("5 records lost, the buffer was full: use --buffer-pages 32 (now 8)",)
    assert ledger.has_loss


def test_runs_that_the_kernel_skipped_are_told_and_are_a_loss() -> None:
    kernel = KernelCounts(emitted={(0, 0): 1}, skipped=3)

    ledger = make_ledger(kernel, ReaderCounts(delivered={(0, 0): 1}), NAMES)

    (warning,) = ledger.warnings(buffer_pages=8)
    assert warning.startswith("3 runs of programs skipped by the kernel")
    assert "--attach" in warning
    assert (ledger.to_json()["skipped"], ledger.has_loss) == (3, True)
    assert "skipped" not in make().to_json()


def test_what_was_left_over_at_the_end_is_no_loss() -> None:
    kernel = KernelCounts(emitted={(0, 0): 5})

    ledger = make_ledger(kernel, ReaderCounts(delivered={(0, 0): 2}, dropped={(0, 0): 3}, surplus=3), NAMES)

    assert ledger.warnings(buffer_pages=8) == ()
    assert not ledger.has_loss


def test_tallies_add_up() -> None:
    assert add_tallies({(0, 0): 1}, {(0, 0): 2, (1, 0): 3}) == {(0, 0): 3, (1, 0): 3}


def test_loss_of_a_slow_reader_is_told_as_such() -> None:
    kernel = KernelCounts(emitted={(0, 0): 5}, lost={(0, 0): 3})
    reader = ReaderCounts(delivered={(0, 0): 2}, waits=7)

    (line, *_) = make_ledger(kernel, reader, NAMES).warnings(buffer_pages=8)

    assert line.startswith("3 records lost, the buffer was full, as their reader was too slow: choose fewer")
