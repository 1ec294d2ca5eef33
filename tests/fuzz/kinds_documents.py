"""Manifests, signatures and schemas, as far as records that are decoded by them."""

import json
import struct
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.kinds import Case, kind
from tests.fuzz.kinds_recordings import DOCUMENT, read_records
from tests.fuzz.mutation import encode_document, mutate_bytes, mutate_document
from tests.support.batteries import write_battery
from traceleft.battery.manifest import canonical, digest_of, parse_manifest
from traceleft.battery.signature import dump_signature, read_signature
from traceleft.battery.store import Battery
from traceleft.tracer import _native
from traceleft.tracer.decode.decoder import UndecodableError, make_decoders
from traceleft.tracer.output.jsonl import to_json_line
from traceleft.tracer.output.lines import compile_program
from traceleft.tracer.schema.load import load_schema
from traceleft.tracer.schema.select import load_events, read_catalogue


@kind("manifest", 12)
def manifests(directory: Path) -> Case:
    sound = (write_battery(directory / "battery") / "manifest.json").read_bytes()
    document = json.loads(sound)

    def run(random: Random) -> None:
        if random.random() < 0.2:
            parse_manifest(mutate_bytes(random, sound))
        parse_manifest(_with_digest(mutate_document(random, document)))

    return run


def _with_digest(document: Any) -> bytes:
    """Return a document's bytes, with the digest that fits it."""
    if not isinstance(document, dict):
        return canonical(document)
    rest = {key: document[key] for key in document if key != "digest"}
    return canonical(rest | {"digest": digest_of(canonical(rest))})


@kind("signature", 2)
def signatures(directory: Path) -> Case:
    battery = Battery.read(write_battery(directory / "battery"))
    file = battery.path / "manifest.sig"
    manifest = (battery.path / "manifest.json").read_bytes()
    sound = json.loads(dump_signature(manifest, key=b"k" * 32, signature=b"s" * 64))

    def run(random: Random) -> None:
        data = _with_digest(mutate_document(random, sound))
        file.write_bytes(data if random.random() < 0.7 else mutate_bytes(random, data))
        read_signature(battery)

    return run


@kind("schema", 14)
def schemas(directory: Path) -> Case:
    records = read_records()

    def run(random: Random) -> None:
        hostile: Any = mutate_document(random, DOCUMENT)
        data = encode_document(random, hostile)
        if random.random() < 0.2:
            data = mutate_bytes(random, data)
        catalogue = read_catalogue(data)
        if random.random() < 0.5:
            load_events(data, [*catalogue.names])
        schema = load_schema(hostile)
        compile_program(schema.events.values(), schema.tables)
        decoders = make_decoders(schema)
        for record in records:
            event = struct.unpack_from("<H", record, 4)[0]
            if decoder := decoders.get(event):
                _decode(decoder, record)

    return run


def _decode(decoder: Any, record: bytes) -> None:
    try:
        to_json_line(decoder.decode(_native.Records(record).record(0)))
    except UndecodableError:
        return
