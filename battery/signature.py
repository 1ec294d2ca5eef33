"""The signature of a battery as it lies on the disk: read, and held against the manifest. See ed25519 for the rest."""

import base64
import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from traceleft.battery.manifest import MANIFEST_BYTES_MAX, Digest, canonical, digest_of, one_line, parse_manifest
from traceleft.battery.store import Battery, describe, read_file
from traceleft.errors import BatteryError

FILE: Final = "manifest.sig"
SIGNATURE_BYTES_MAX: Final = 4096


class Signature(Struct, frozen=True, forbid_unknown_fields=True):
    """What lies in manifest.sig: the signature of the manifest's bytes, and whose it claims to be."""

    algorithm: Literal["ed25519"]
    key: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    manifest: Digest
    signature: Annotated[str, Meta(pattern=r"\A[0-9a-f]{128}\Z")]
    digest: Digest

    @property
    def fingerprint(self) -> str:
        """The key's fingerprint, as ssh-keygen -l shows it."""
        name = b"ssh-ed25519"
        blob = b"".join(len(part).to_bytes(4, "big") + part for part in (name, bytes.fromhex(self.key)))
        return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def dump_signature(manifest: bytes, *, key: bytes, signature: bytes) -> bytes:
    """Return what goes into manifest.sig."""
    document = {
        "algorithm": "ed25519",
        "key": key.hex(),
        "manifest": digest_of(manifest),
        "signature": signature.hex(),
    }
    return canonical(document | {"digest": digest_of(canonical(document))})


def read_signature(battery: Battery) -> tuple[Signature, bytes]:
    """Return a battery's signature and the bytes that it signs: the manifest's, which the battery was opened with.

    Whose it is remains to be checked. BatteryError where there is none, or one that is damaged or of another manifest.
    """
    file = battery.path / FILE
    try:
        data = read_file(file, SIGNATURE_BYTES_MAX)
        manifest = read_file(battery.path / "manifest.json", MANIFEST_BYTES_MAX)
    except FileNotFoundError as exc:
        remedy = "sign it with: traceleft battery sign BATTERY --key KEY"
        raise BatteryError(f"is not signed; {remedy}", path=str(battery.path)) from exc
    except OSError as exc:
        raise BatteryError(describe(exc), path=str(file)) from exc
    signature = _parse(data, file)
    is_changed = parse_manifest(manifest, path=str(battery.path)).digest != battery.manifest.digest
    if is_changed or signature.manifest != digest_of(manifest):
        raise BatteryError("the signature belongs to another manifest: sign the battery again", path=str(file))
    return signature, manifest


def _parse(data: bytes, file: Path) -> Signature:
    try:
        signature = msgspec.json.decode(data, type=Signature)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BatteryError(f"damaged signature: {one_line(exc)}", path=str(file)) from exc
    document: dict[str, object] = msgspec.to_builtins(signature)
    if data != canonical(document) or document.pop("digest") != digest_of(canonical(document)):
        raise BatteryError("damaged signature: wrong digest; sign the battery again", path=str(file))
    return signature
