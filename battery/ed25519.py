"""Ed25519: batteries signed, and signatures checked. The one wall around the package cryptography."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceleft.battery.manifest import one_line
from traceleft.battery.signature import FILE, Signature, dump_signature, read_signature
from traceleft.battery.store import Battery, describe
from traceleft.battery.verify import verify_contents
from traceleft.battery.writer import open_writer
from traceleft.errors import BatteryError, UnsupportedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES_MAX: Final = 64 << 10
REMEDY: Final = "install it with: pip install 'traceleft[sign]', or apt install python3-cryptography"
OPENSSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
PEM: Final = b"-----BEGIN "
Passphrase = Callable[[], str]


def sign_battery(path: Path, key: Path, *, passphrase: Passphrase) -> Signature:
    """Sign a battery that verifies, in place of a signature that it may have; return the signature.

    ``key`` is an Ed25519 private key, OpenSSH's or PEM; ``passphrase`` is asked if it has one.
    """
    private = _load_private(key, passphrase)
    with open_writer(path, exists=True) as writer:
        battery = verify_contents(path)
        data = (path / "manifest.json").read_bytes()
        writer.sign(dump_signature(data, key=_raw(private.public_key()), signature=private.sign(data)))
        # Of the manifest that was verified, and of none that came since.
        signature, _ = read_signature(battery)
        return signature


def check_signature(battery: Battery, key: Path) -> Signature:
    """Hold a battery's signature against a public key, OpenSSH's or PEM; return it.

    Raises BatteryError unless that key signed the very manifest that the battery was opened with.
    """
    public = _load_public(key)
    from cryptography.exceptions import InvalidSignature

    signature, data = read_signature(battery)
    place = str(battery.path / FILE)
    if _raw(public).hex() != signature.key:
        raise BatteryError(f"signed by another key than {key} ({signature.fingerprint})", path=place)
    try:
        public.verify(bytes.fromhex(signature.signature), data)
    except InvalidSignature as exc:
        raise BatteryError(f"not signed by {key}: the battery or its signature was changed", path=place) from exc
    return signature


def _raw(key: "Ed25519PublicKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _load_private(path: Path, passphrase: Passphrase) -> "Ed25519PrivateKey":
    data = _read_key(path)
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key
    except ImportError as exc:
        raise UnsupportedError("signatures: the Python package cryptography is missing", REMEDY) from exc
    load = load_ssh_private_key if data.lstrip().startswith(OPENSSH) else load_pem_private_key
    try:
        try:
            key = load(data, None)
        # How either says that there is a passphrase.
        except (TypeError, ValueError) as exc:
            if "ncrypted" not in str(exc) and "assword" not in str(exc):
                raise
            key = load(data, passphrase().encode())
    # The package raises its own errors, and others on bytes that lie.
    except Exception as exc:
        raise BatteryError(f"no private key that can be read: {one_line(exc)}", path=str(path)) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise BatteryError("no Ed25519 key; make one with: ssh-keygen -t ed25519", path=str(path))
    return key


def _load_public(path: Path) -> "Ed25519PublicKey":
    data = _read_key(path)
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key
    except ImportError as exc:
        raise UnsupportedError("signatures: the Python package cryptography is missing", REMEDY) from exc
    if b"PRIVATE KEY" in data[:128]:
        raise BatteryError("a private key; name the public one", path=str(path))
    try:
        key = load_pem_public_key(data) if data.lstrip().startswith(PEM) else load_ssh_public_key(data.strip())
    except Exception as exc:
        raise BatteryError(f"no public key that can be read: {one_line(exc)}", path=str(path)) from exc
    if not isinstance(key, Ed25519PublicKey):
        raise BatteryError("no Ed25519 key", path=str(path))
    return key


def _read_key(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(KEY_BYTES_MAX + 1)
    except OSError as exc:
        raise BatteryError(describe(exc), path=str(path)) from exc
    if len(data) > KEY_BYTES_MAX:
        raise BatteryError("too large for a key", path=str(path))
    return data
