"""What a battery of other kernels does on this one: the release that fits, events that are not here, drift."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.battery.test_signature import no_passphrase, write_keys
from tests.support.batteries import FIELDS, write_battery
from tests.support.paths import TESTS
from traceleft import ProbeOptions
from traceleft.battery.builder.build import build
from traceleft.battery.ed25519 import sign_battery
from traceleft.battery.manifest import digest_of
from traceleft.battery.store import Battery
from traceleft.cli import main as cli
from traceleft.errors import UnsupportedError
from traceleft.expression import Catalogue, named
from traceleft.generator import generate
from traceleft.tracer import Tracer
from traceleft.tracer.kernel.events import describe_absent, shorten
from traceleft.tracer.kernel.formats import kernel_format
from traceleft.tracer.schema.load import load_schema

NEWER = TESTS / "data/formats/7.2.13+deb14-cloud-amd64.json.xz"


def format_of(release: str) -> Mapping[str, str]:
    """Return the formats that tests.support.batteries gives a release."""
    return {name: digest_of(f"{name} {release}".encode()) for name in FIELDS}


@pytest.fixture
def three(tmp_path: Path) -> Battery:
    return Battery.open(write_battery(tmp_path / "battery", dict.fromkeys(("4.9.1", "5.10.3", "6.1.0"), FIELDS)))


def test_exact_release_wins_whatever_the_formats(three: Battery) -> None:
    selection = three.select("5.10.3", kernel_format=format_of("4.9.1").get)

    assert (selection.name, selection.exact, selection.why) == ("5.10.3", True, "the kernel's own release")


def test_nearest_release_with_the_kernel_s_formats_wins(three: Battery) -> None:
    assert three.select("6.5.0", kernel_format=format_of("4.9.1").get).name == "4.9.1"
    assert three.select("6.5.0", kernel_format=format_of("6.1.0").get).name == "6.1.0"
    assert three.select("5.15.0", kernel_format=format_of("6.1.0").get).name == "6.1.0"


def test_release_that_has_all_of_the_kernel_s_events_wins_over_an_older_one(tmp_path: Path) -> None:
    """So 4.14.67 is served by 4.14.177: 4.9 has no statx."""
    few = {"close": FIELDS["close"]}
    releases = {"4.9.1": few, "4.14.177": FIELDS, "4.19.13": FIELDS}
    battery = Battery.open(write_battery(tmp_path / "battery", releases))

    selection = battery.select("4.14.67", kernel_format=format_of("4.14.177").get)
    without = battery.select("4.14.67", kernel_format={"close": format_of("4.9.1")["close"]}.get)

    assert (selection.name, selection.exact) == ("4.14.177", False)
    assert selection.why == "the nearest release that has all of the kernel's events, in its formats"
    assert without.name == "4.9.1"


def test_where_each_release_lacks_some_the_one_that_lacks_fewest_wins(tmp_path: Path) -> None:
    releases = {"4.9.1": {}, "4.14.177": {"close": FIELDS["close"]}}
    battery = Battery.open(write_battery(tmp_path / "battery", {**releases, "6.1.0": {"openat": FIELDS["openat"]}}))

    selection = battery.select("4.14.67", kernel_format=format_of("4.14.177").get)

    assert selection.name == "4.14.177"
    assert selection.why == "the nearest release that lacks the fewest of the kernel's events, in its formats"


def test_event_that_the_kernel_does_not_show_speaks_for_no_release(three: Battery) -> None:
    selection = three.select("6.5.0", kernel_format={"close": format_of("5.10.3")["close"]}.get)

    assert selection.name == "5.10.3"


def test_without_a_release_that_fits_the_nearest_older_serves_and_says_so(three: Battery) -> None:
    selection = three.select("6.5.0", kernel_format=format_of("6.5.0").get)

    assert selection.name == "6.1.0"
    assert selection.why == (
        "the nearest release that has all of the kernel's events; each has formats that are not the kernel's"
    )
    assert three.select("4.4.0").why == "the oldest release: none is older than the kernel"


CATALOGUE = Catalogue(
    frozenset({"openat", "newuname", "close"}), {"newuname": ["uname"]}, {"desc": frozenset({"openat", "close"})}
)


@pytest.mark.parametrize(
    ("expressions", "names"),
    [
        ([], set()),
        (["openat,uname"], {"openat", "newuname"}),
        (["%desc"], set()),
        (["/open/", "close"], {"close"}),
        (["!close"], set()),
        (["all,?close"], set()),
        (["trace=openat"], {"openat"}),
    ],
)
def test_event_is_named_when_it_is_asked_for_by_itself(expressions: list[str], names: set[str]) -> None:
    assert named(expressions, CATALOGUE) == names


def test_many_names_are_one_line() -> None:
    assert shorten(["a", "b"]) == "a, b"
    assert (
        describe_absent([f"e{n}" for n in range(9)])
        == "this kernel does not have e0, e1, e2, e3, e4 and 4 more: left out"
    )


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a battery from the formats of a newer kernel, which has calls that this one has not."""
    place = tmp_path_factory.mktemp("newer")
    events = "openat,close,listns,sched:sched_process_exec,sched:sched_process_fork"
    generate(NEWER, expressions=[events], output=place / "generated")
    build(place / "generated", place / "battery", levels=["5.8"])
    return place / "battery"


def trace(capfd: pytest.CaptureFixture[str], battery: Path, *options: str) -> tuple[int, str, str]:
    status = cli.main(["trace", "--battery", str(battery), *options, "--", "true"])
    captured = capfd.readouterr()
    return status, captured.out, captured.err


@pytest.mark.kernel
def test_formats_of_this_kernel_are_those_of_a_battery_made_here(kernel_battery: Path) -> None:
    battery = Battery.open(kernel_battery)
    formats = battery.formats(battery.releases[-1])

    assert len(formats) > 300
    assert {name for name, digest in formats.items() if kernel_format(name) != digest} == set()


@pytest.mark.kernel
@pytest.mark.parametrize("hook", ["raw_tracepoint", "tracepoint"])
def test_event_that_this_kernel_lacks_is_left_out_with_a_notice(newer: Path, hook: str) -> None:
    with Tracer(Battery.open(newer), command=["true"], probes=ProbeOptions(hook=hook)) as tracer:
        names = [event.event for event in tracer]

    assert "listns" not in tracer.specs
    assert tracer.notices[0] == "this kernel does not have listns: left out"
    assert "openat" in names


@pytest.mark.kernel
@pytest.mark.parametrize("hook", ["raw_tracepoint", "tracepoint"])
def test_event_that_is_named_and_not_here_is_an_error(newer: Path, hook: str) -> None:
    with pytest.raises(UnsupportedError, match="listns: this kernel has no such"):
        Tracer(Battery.open(newer), events=["openat,listns"], command=["true"], probes=ProbeOptions(hook=hook))


@pytest.mark.kernel
def test_tracepoint_of_another_format_is_left_out_unless_it_is_named(newer: Path) -> None:
    schema = load_schema(Battery.open(newer).schema("7.2.13+deb14-cloud-amd64"))
    foreign = [name for name, spec in schema.events.items() if ":" in name and kernel_format(name) != spec.format]
    if not foreign:
        return

    with pytest.raises(UnsupportedError, match="generate and build it from this kernel"):
        Tracer(Battery.open(newer), events=[*foreign, "openat"], command=["true"])
    assert not set(foreign) & set(Tracer(Battery.open(newer), events=["/:/", "openat"], command=["true"]).specs)


@pytest.mark.kernel
def test_nothing_that_is_here_is_an_error(newer: Path) -> None:
    with pytest.raises(UnsupportedError, match="nothing remains"):
        Tracer(Battery.open(newer), events=["/^listns$/"], command=["true"])


@pytest.mark.kernel
def test_other_formats_are_noticed_on_stderr(newer: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, out, errors = trace(capfd, newer, "-e", "openat")

    assert status == 0
    assert "openat(" in out
    # From 6.19 on, the formats of calls with paths have one field more.
    assert "formats on this kernel are not those of the battery's 7.2.13+deb14-cloud-amd64: openat" in errors


@pytest.mark.kernel
def test_doctor_explains_a_battery(newer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--battery", str(newer), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)["battery"]
    cli.main(["doctor", "--battery", str(newer)])
    text = capsys.readouterr().out

    assert document["whole"] == {"present": True, "value": "6 objects, each as its digest", "names": []}
    assert "the oldest release: none is older than the kernel" in document["release"]["value"]
    assert document["not here"]["names"][0] == "listns"
    assert "read" in document["missing"]["names"]
    assert "openat" in document["formats"]["names"]
    assert "not here         its events that this kernel lacks: listns" in text


@pytest.mark.kernel
def test_doctor_names_what_is_wrong_with_a_battery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text("{")

    assert cli.main(["doctor", "--battery", str(tmp_path)]) == 0
    assert "✗ manifest         " in capsys.readouterr().out


@pytest.mark.kernel
def test_required_signature_is_checked_before_a_trace(
    newer: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    private, public = write_keys(tmp_path / "own")
    _, other = write_keys(tmp_path / "other")

    unsigned = trace(capfd, newer, "-e", "openat", "--require-signature", str(public))
    sign_battery(newer, private, passphrase=no_passphrase)
    signed = trace(capfd, newer, "-e", "openat", "--require-signature", str(public))
    foreign = trace(capfd, newer, "-e", "openat", "--require-signature", str(other))

    assert [unsigned[0], signed[0], foreign[0]] == [1, 0, 1]
    assert (unsigned[1], foreign[1]) == ("", "")
    assert unsigned[2].startswith(f"traceleft: {newer}: is not signed") and unsigned[2].count("\n") == 1
    assert "signed by another key" in foreign[2] and foreign[2].count("\n") == 1


@pytest.mark.kernel
def test_changed_bit_of_an_object_is_refused_before_anything_is_loaded(
    newer: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import shutil

    path = Path(shutil.copytree(newer, tmp_path / "changed"))
    for each in path.rglob("*.o"):
        data = bytearray(each.read_bytes())
        data[len(data) // 2] ^= 1
        each.write_bytes(data)

    status, out, errors = trace(capfd, path, "-e", "openat")

    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert "wrong digest" in errors
