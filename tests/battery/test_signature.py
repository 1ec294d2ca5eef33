"""Signatures: with keys that people have, over every byte, refused when anything changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.support.batteries import write_battery
from traceleft.battery.ed25519 import check_signature, sign_battery
from traceleft.battery.manifest import canonical, digest_of, dump_manifest
from traceleft.battery.signature import read_signature
from traceleft.battery.store import Battery
from traceleft.battery.verify import verify_battery
from traceleft.battery.writer import open_writer
from traceleft.errors import BatteryError

FORMS = {"openssh": PrivateFormat.OpenSSH, "pem": PrivateFormat.PKCS8}


@pytest.fixture
def battery(tmp_path: Path) -> Path:
    return write_battery(tmp_path / "battery")


def no_passphrase() -> str:
    raise AssertionError("asked for a passphrase")


def write_keys(path: Path, form: str = "openssh", *, passphrase: str | None = None) -> tuple[Path, Path]:
    """Write a new pair of keys; return where the private and the public one are."""
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    private, public = path.with_suffix(".key"), path.with_suffix(".pub")
    private.write_bytes(key.private_bytes(Encoding.PEM, FORMS[form], encryption))
    public_form = (
        (Encoding.OpenSSH, PublicFormat.OpenSSH)
        if form == "openssh"
        else (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    public.write_bytes(key.public_key().public_bytes(*public_form))
    return private, public


@pytest.mark.parametrize("form", FORMS)
def test_signature_is_checked_with_the_public_key(battery: Path, tmp_path: Path, form: str) -> None:
    private, public = write_keys(tmp_path / "own", form)

    signed = sign_battery(battery, private, passphrase=no_passphrase)

    assert check_signature(verify_battery(battery), public) == signed


def test_key_with_a_passphrase_asks_for_it(battery: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "own", "pem", passphrase="secret")

    sign_battery(battery, private, passphrase=lambda: "secret")

    check_signature(Battery.open(battery), public)
    with pytest.raises(BatteryError, match="no private key that can be read"):
        sign_battery(battery, private, passphrase=lambda: "wrong")


def test_keys_of_ssh_keygen_and_openssl_serve(battery: Path, tmp_path: Path) -> None:
    ssh, pem, public = tmp_path / "id", tmp_path / "id.pem", tmp_path / "public.pem"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@here", "-f", ssh], check=True)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", pem], check=True)
    subprocess.run(["openssl", "pkey", "-in", pem, "-pubout", "-out", public], check=True)

    signed = sign_battery(battery, ssh, passphrase=no_passphrase)
    check_signature(Battery.open(battery), tmp_path / "id.pub")
    listing = subprocess.run(
        ["ssh-keygen", "-lf", tmp_path / "id.pub"], check=True, capture_output=True, text=True
    ).stdout
    sign_battery(battery, pem, passphrase=no_passphrase)
    check_signature(Battery.open(battery), public)

    assert signed.fingerprint in listing


def test_openssl_verifies_what_was_signed(battery: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "own", "pem")
    signed = sign_battery(battery, private, passphrase=no_passphrase)
    (tmp_path / "raw").write_bytes(bytes.fromhex(signed.signature))

    command: list[str | Path] = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        battery / "manifest.json",
    ]
    done = subprocess.run([*command, "-sigfile", tmp_path / "raw"], capture_output=True, text=True, check=False)

    assert "Signature Verified Successfully" in done.stdout, done.stderr


def test_signing_twice_gives_the_same_bytes(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")

    sign_battery(battery, private, passphrase=no_passphrase)
    first = (battery / "manifest.sig").read_bytes()
    sign_battery(battery, private, passphrase=no_passphrase)

    assert (battery / "manifest.sig").read_bytes() == first


def test_signature_of_another_key_is_refused(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    _, other = write_keys(tmp_path / "other")
    sign_battery(battery, private, passphrase=no_passphrase)

    with pytest.raises(BatteryError, match="signed by another key than"):
        check_signature(Battery.open(battery), other)


def test_unsigned_battery_is_refused_with_the_remedy(battery: Path, tmp_path: Path) -> None:
    _, public = write_keys(tmp_path / "own")

    with pytest.raises(BatteryError, match="is not signed; sign it with: traceleft battery sign"):
        check_signature(Battery.open(battery), public)


def test_flipped_bit_of_the_signature_is_refused_without_any_key(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    sign_battery(battery, private, passphrase=no_passphrase)
    data = (battery / "manifest.sig").read_bytes()

    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        (battery / "manifest.sig").write_bytes(changed)
        with pytest.raises(BatteryError) as caught:
            verify_battery(battery)
        assert str(caught.value).isprintable()


def test_forged_signature_with_a_right_digest_is_refused_by_the_key(battery: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "own")
    sign_battery(battery, private, passphrase=no_passphrase)
    document = json.loads((battery / "manifest.sig").read_bytes())
    del document["digest"]
    document["signature"] = "00" * 64
    (battery / "manifest.sig").write_bytes(canonical(document | {"digest": digest_of(canonical(document))}))

    verify_battery(battery)
    with pytest.raises(BatteryError, match="the battery or its signature was changed"):
        check_signature(Battery.open(battery), public)


def test_signature_of_another_manifest_is_refused(battery: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "own")
    other = write_battery(tmp_path / "other", {"5.10.0": {}})
    sign_battery(other, private, passphrase=no_passphrase)
    (battery / "manifest.sig").write_bytes((other / "manifest.sig").read_bytes())

    with pytest.raises(BatteryError, match="belongs to another manifest"):
        check_signature(Battery.open(battery), public)


def test_manifest_that_was_swapped_after_it_was_opened_is_refused(battery: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path / "own")
    opened = Battery.open(battery)
    other = write_battery(tmp_path / "other", {"5.10.0": {}})
    sign_battery(other, private, passphrase=no_passphrase)
    for name in ("manifest.json", "manifest.sig"):
        (battery / name).write_bytes((other / name).read_bytes())

    with pytest.raises(BatteryError, match="belongs to another manifest"):
        check_signature(opened, public)


def test_battery_that_does_not_verify_is_not_signed(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    next(battery.rglob("*.o")).write_bytes(b"damaged")

    with pytest.raises(BatteryError):
        sign_battery(battery, private, passphrase=no_passphrase)

    assert not (battery / "manifest.sig").exists()


def test_nothing_is_made_where_there_is_no_battery_to_sign(tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")

    with pytest.raises(BatteryError, match="no such battery"):
        sign_battery(tmp_path / "nowhere", private, passphrase=no_passphrase)

    assert not (tmp_path / "nowhere").exists()


def test_change_of_the_manifest_takes_the_signature_away(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    sign_battery(battery, private, passphrase=no_passphrase)

    with open_writer(battery) as writer:
        assert writer.manifest is not None
        writer.publish(writer.manifest, objects={}, schemas={})
        assert read_signature(Battery(battery, writer.manifest))
        changed = type(writer.manifest)(
            **{name: getattr(writer.manifest, name) for name in writer.manifest.__struct_fields__}
            | {"traceleft": "0.2"}
        )
        writer.publish(changed, objects={}, schemas={})

    assert dump_manifest(changed) == (battery / "manifest.json").read_bytes()
    assert not (battery / "manifest.sig").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (b"x" * 100_000, "too large for a key"),
        (None, "no such file"),
    ],
    ids=["empty", "damaged", "large", "missing"],
)
def test_what_is_no_private_key_is_refused(
    battery: Path, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)

    with pytest.raises(BatteryError, match=complaint) as caught:
        sign_battery(battery, tmp_path / "key", passphrase=no_passphrase)

    assert str(caught.value).startswith(str(tmp_path / "key"))


def test_key_of_another_kind_is_refused(battery: Path, tmp_path: Path) -> None:
    rsa = generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "key").write_bytes(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "pub").write_bytes(rsa.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))

    with pytest.raises(BatteryError, match="no Ed25519 key; make one with: ssh-keygen"):
        sign_battery(battery, tmp_path / "key", passphrase=no_passphrase)
    with pytest.raises(BatteryError, match="no Ed25519 key"):
        check_signature(Battery.open(battery), tmp_path / "pub")


def test_private_key_is_not_taken_for_a_public_one(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    sign_battery(battery, private, passphrase=no_passphrase)

    with pytest.raises(BatteryError, match="a private key; name the public one"):
        check_signature(Battery.open(battery), private)


def test_verifying_without_a_key_needs_no_cryptography(battery: Path, tmp_path: Path) -> None:
    private, _ = write_keys(tmp_path / "own")
    sign_battery(battery, private, passphrase=no_passphrase)
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from traceleft.cli.main import main\n"
        f"assert main(['battery', 'verify', {str(battery)!r}]) == 0\n"
        f"sys.exit(main(['battery', 'verify', {str(battery)!r}, '--key', {str(tmp_path / 'own.pub')!r}]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.count("whole; says it is signed by SHA256:")) == (1, 1), done.stderr
    assert "apt install python3-cryptography" in done.stderr
