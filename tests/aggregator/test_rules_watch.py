"""Rules at work: when alerts come, what they say, what holds them back, and what bounds their memory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.records import OPENAT, SETS, STRUCTS, Capture, Record, document, encode, event_document
from traceleft.aggregator.rollups.histogram import bucket_of, percentile
from traceleft.aggregator.rules.rule import Alert, Rule, parse_rules
from traceleft.aggregator.rules.watch import Watcher
from traceleft.errors import FormatError
from traceleft.tracer import _native
from traceleft.tracer.decode.batch import Batch
from traceleft.tracer.decode.decoder import Decoder
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.spec import EventSpec, make_catalogue

MS = 1_000_000
S = 1000 * MS
SCHEMA = load_schema(
    document(
        {
            "openat": event_document(OPENAT, ret="fd"),
            "openat2": event_document(OPENAT, ret="fd", id=437, number=437),
        },
        sets=SETS,
        structs=STRUCTS,
    )
)


@dataclass(frozen=True)
class Call:
    """An event: when, whose, of what, and how it went."""

    ts: int
    uid: int = 0
    path: bytes = b"/etc/shadow"
    ret: int = -13
    event: str = "openat"


def record_of(call: Call) -> bytes:
    spec = SCHEMA.events[call.event]
    ids = (7, 7, call.uid, 0)
    return encode(spec, Record(ret=call.ret, ts=call.ts, ids=ids, captures={0: Capture(call.path)}))


def batches_of(calls: Sequence[Call]) -> Iterable[Batch]:
    """Yield the batches of calls that come together, as a dispatcher does."""
    records = _native.Records(b"".join(map(record_of, calls)))
    for spec in sorted(SCHEMA.events.values(), key=lambda spec: -spec.id):
        fixed, tails, ends, rows = records.columns(spec.id, spec.fixed_size)
        if fixed:
            yield Batch(Decoder(spec, SCHEMA.tables), fixed, tails, ends, rows=rows)


def rules_of(text: str) -> tuple[Rule, ...]:
    return parse_rules(f'[rule.x]\nevents = ["openat", "openat2"]\n{text}', file="r.toml")


def watch(text: str, *rounds: Sequence[Call]) -> tuple[list[Alert], Watcher]:
    """Run the rule x over calls, those of a round together."""
    alerts: list[Alert] = []
    specs: dict[str, EventSpec] = dict(SCHEMA.events)
    watcher = Watcher(rules_of(text), specs, alerts.append, host="web-1")
    for calls in rounds:
        for batch in batches_of(calls):
            watcher.add(batch)
        watcher.end_round()
    return alerts, watcher


BY_UID = 'by = ["uid"]\nwindow = "10s"\ncount = ">20"\n'
BURST = [Call(100 * S + number * MS, uid=1000) for number in range(50)]


def test_alert_comes_with_the_event_that_is_one_too_many() -> None:
    alerts, _ = watch(BY_UID, BURST)

    (alert,) = alerts
    assert alert.ts == BURST[20].ts
    assert alert.to_json() == {
        "ts": BURST[20].ts,
        "alert": "x",
        "severity": "warning",
        "keys": {"uid": 1000},
        "values": {"count": 21},
        "window_start": 90 * S + 500 * MS,
        "window_end": 100 * S + 500 * MS,
        "message": "uid 1000, count 21",
        "suppressed": 0,
        "host": "web-1",
    }
    assert str(alert) == "warning: x: uid 1000, count 21"


def test_one_less_is_no_alert() -> None:
    assert watch(BY_UID, BURST[:20])[0] == []


def test_keys_are_counted_apart() -> None:
    calls = [Call(100 * S + number * MS, uid=number % 3) for number in range(61)]

    alerts, _ = watch(BY_UID, calls)

    assert [alert.keys["uid"] for alert in alerts] == [0]


def test_window_moves_on() -> None:
    spread = [Call(100 * S + number * S, uid=1000) for number in range(100)]

    assert watch(BY_UID, spread)[0] == []
    assert len(watch(BY_UID.replace(">20", ">9"), spread)[0]) == 1


def test_condition_over_single_events_tells_of_each() -> None:
    calls = [Call(1, path=b"/etc/a"), Call(2, ret=3), Call(3, path=b"/etc/\x1b[31m\n")]

    alerts, _ = watch("where = 'error == \"EACCES\" or ret == -13'\nmessage = '{comm} {path} {ret}'\n", calls)

    assert [alert.message for alert in alerts] == ["cat /etc/a -13", "cat /etc/\\x1b[31m\\n -13"]
    assert alerts[0].values == {"comm": "cat", "path": "/etc/a", "ret": -13}
    assert alerts[0].to_json()["window_start"] is None


def test_where_chooses_among_events() -> None:
    calls = [Call(100 * S + number, path=b"/etc/shadow" if number % 2 else b"/etc/hosts") for number in range(60)]

    alerts, _ = watch("where = 'path == \"/etc/shadow\"'\n" + BY_UID, calls)

    assert [alert.ts for alert in alerts] == [calls[41].ts]


def test_run_that_lasts_is_told_once_without_a_cooldown() -> None:
    calls = [Call(100 * S + number * 100 * MS) for number in range(1000)]

    assert len(watch(BY_UID, calls)[0]) == 1


def test_run_that_lasts_is_told_again_after_each_cooldown() -> None:
    calls = [Call(100 * S + number * 100 * MS) for number in range(1000)]

    alerts, _ = watch(BY_UID + 'cooldown = "30s"\n', calls)

    assert [alert.ts - calls[20].ts for alert in alerts] == [0, 30 * S, 60 * S, 90 * S]
    assert [alert.suppressed for alert in alerts] == [0, 0, 0, 0]


def test_runs_within_a_cooldown_are_suppressed_and_told_of_later() -> None:
    bursts = [[Call((100 + 20 * burst) * S + number) for number in range(21)] for burst in range(5)]

    alerts, watcher = watch(BY_UID + 'cooldown = "50s"\n', *bursts)

    assert [(alert.ts - 100 * S, alert.suppressed) for alert in alerts] == [(20, 0), (60 * S + 20, 2)]
    account = watcher.accounts()["x"]
    assert (account.alerts, account.suppressed) == (2, 3)


def test_all_keys_together_are_limited() -> None:
    calls = [Call(100 * S + number, uid=number) for number in range(10)] + [Call(161 * S, uid=99)]

    alerts, watcher = watch("where = 'ret == -13'\nby = ['uid']\nlimit = '3/min'\n", calls)

    assert [alert.keys["uid"] for alert in alerts] == [0, 1, 2, 99]
    assert alerts[-1].suppressed == 7
    assert str(alerts[-1]).endswith("(7 more suppressed)")
    assert watcher.accounts()["x"].suppressed == 7


def test_events_of_several_kinds_are_looked_at_in_their_order() -> None:
    calls = [Call(100 * S + number, event="openat2" if number % 2 else "openat") for number in range(22)]

    alerts, _ = watch(BY_UID, calls)

    assert [alert.ts for alert in alerts] == [calls[20].ts]


def test_late_event_counts_while_its_window_lasts() -> None:
    calls = [Call(100 * S), Call(109 * S), Call(108 * S), Call(90 * S)]

    alerts, watcher = watch('window = "10s"\ncount = ">2"\n', calls)

    assert [alert.ts for alert in alerts] == [108 * S]
    assert watcher.accounts()["x"].late == 1


def test_keys_are_bounded_and_those_that_are_over_make_room() -> None:
    text = 'by = ["uid"]\nwindow = "10s"\ncount = ">1"\nmax_keys = 100\n'
    flood = [Call(100 * S + number, uid=number) for number in range(1000)]
    later = [Call(200 * S + number // 2, uid=5000 + number // 2) for number in range(20)]

    alerts, watcher = watch(text, flood, later)

    assert [alert.keys["uid"] for alert in alerts] == [*range(5000, 5010)]
    assert watcher.accounts()["x"].capped == 900
    assert len(watcher._states[0]._groups) <= 100


def test_rule_about_events_that_are_not_traced_is_refused() -> None:
    with pytest.raises(FormatError, match=r"r.toml:2: rule x: none of its events is there; choose them with -e"):
        Watcher(rules_of("where = 'ret == 0'\n"), {}, lambda alert: None, catalogue=make_catalogue(SCHEMA.events))


CALLS = st.lists(
    st.builds(
        Call,
        ts=st.integers(0, 40).map(lambda step: 1000 * S + step * 250 * MS),
        uid=st.integers(0, 2),
        ret=st.sampled_from([-13, 3]),
        event=st.sampled_from(["openat", "openat2"]),
    ),
    max_size=60,
)
EVERYTHING = """
by = ["uid"]
measures = ["count", "errors", "sum(ret) as total", "min(ret) as low", "max(ret) as high", "p50(ret) as half"]
window = "5s"
slide = "1s"
when = "count > 3 and (errors > 1 or high > 2) and half is not None"
cooldown = "1s"
limit = "20/s"
"""


@settings(max_examples=60, deadline=None)
@given(calls=CALLS, cuts=st.sets(st.integers(0, 60)))
def test_alerts_do_not_depend_on_what_comes_together(calls: list[Call], cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(calls)), len(calls)]
    rounds = [calls[first:last] for first, last in pairwise(edges)]

    at_once, _ = watch(EVERYTHING, calls)
    in_rounds, _ = watch(EVERYTHING, *rounds)

    assert [alert.to_json() for alert in in_rounds] == [alert.to_json() for alert in at_once]


@settings(max_examples=60, deadline=None)
@given(calls=CALLS)
def test_figures_are_those_of_the_window_that_ends_with_the_event(calls: list[Call]) -> None:
    # In order, each at a time of its own: a cooldown of a nanosecond then lets all pass.
    calls = [replace(call, ts=call.ts + place) for place, call in enumerate(sorted(calls, key=lambda each: each.ts))]
    text = EVERYTHING.replace('when = "count > 3 and (errors > 1 or high > 2) and half is not None"', 'count = ">0"')

    alerts, _ = watch(text.replace('"1s"\nlimit = "20/s"', '"1ns"'), calls)

    expected = []
    for place, call in enumerate(calls):
        end = call.ts // S + 1
        inside = [each.ret for each in calls[: place + 1] if each.uid == call.uid and end - 5 <= each.ts // S < end]
        half = percentile(Counter(map(bucket_of, inside)), 50_000)
        errors = sum(ret < 0 for ret in inside)
        expected.append((call.ts, (len(inside), errors, sum(inside), min(inside), max(inside), half)))
    assert [(alert.ts, tuple(alert.values.values())) for alert in alerts] == expected
