"""Batteries for tests: sound ones whose objects are any bytes, made without a compiler."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from traceleft.battery.manifest import (
    CompilerEntry,
    Manifest,
    ObjectEntry,
    ProgramEntry,
    Release,
    digest_of,
    dump_manifest,
)
from traceleft.battery.store import object_path, schema_path

OBJECTS = {"core": b"the core", "openat": b"an object " * 40, "close": b"another"}


def field(index: int, name: str, type_: str, kind: str) -> dict[str, object]:
    return {"index": index, "name": name, "type": type_, "kind": kind}


FIELDS: Mapping[str, list[dict[str, object]]] = {
    "openat": [field(0, "dfd", "int", "dirfd"), field(1, "filename", "const char *", "path")],
    "close": [field(0, "fd", "unsigned int", "fd")],
}


def schema_of(fields: Mapping[str, list[dict[str, object]]], *, release: str) -> bytes:
    """Return a schema document, as far as batteries look into it."""
    events = {
        name: {
            "kind": "syscall",
            "number": {"close": 3, "openat": 257}[name],
            "aliases": [],
            "classes": ["desc"],
            "format": digest_of(f"{name} {release}".encode()),
            "layout": {"digest": digest_of(name.encode())},
            "args": args,
        }
        for name, args in fields.items()
    }
    return json.dumps({"schema": 1, "release": release, "events": events}, sort_keys=True).encode()


def write_battery(path: Path, releases: Mapping[str, Mapping[str, list[dict[str, object]]]] | None = None) -> Path:
    """Write a battery with these events in these releases; return its path."""
    wanted = releases or {"6.1.0": FIELDS}
    program = ProgramEntry("raw_exit", "raw_exit", "raw_tp", "raw_tp", 60, (1, 12))
    digests = {event: digest_of(data) for event, data in OBJECTS.items()}
    used = {"core", *(event for fields in wanted.values() for event in fields)}
    schemas = {release: schema_of(fields, release=release) for release, fields in wanted.items()}
    manifest = Manifest(
        schema=1,
        traceleft="0.1.0",
        machine=os.uname().machine,
        byte_order="little",
        compiler=CompilerEntry("clang version 14.0.6", ()),
        templates=digest_of(b""),
        objects={
            digests[event]: ObjectEntry(event, {"5.8": digest_of(b"")}, "5.8", len(OBJECTS[event]), None, (program,))
            for event in sorted(used)
        },
        releases={
            release: Release(
                digest_of(schemas[release]), {"5.8": digests["core"]}, {name: {"5.8": digests[name]} for name in fields}
            )
            for release, fields in wanted.items()
        },
    )
    files = {path / "manifest.json": dump_manifest(manifest)}
    files |= {object_path(path, digests[event]): OBJECTS[event] for event in used}
    files |= {schema_path(path, digest_of(data)): data for data in schemas.values()}
    for file, data in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path
