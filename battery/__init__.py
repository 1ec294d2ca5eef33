"""Batteries: prebuilt objects with their schemas, found and read by digest.

This package re-exports what reads a battery; what makes one is ``traceleft.battery.builder.build``.
"""

from traceleft.battery.manifest import Manifest, ObjectEntry, ProgramEntry, Release, dump_manifest, parse_manifest
from traceleft.battery.store import Battery, Selection, is_trusted, why_untrusted

__all__ = [
    "Battery",
    "Manifest",
    "ObjectEntry",
    "ProgramEntry",
    "Release",
    "Selection",
    "dump_manifest",
    "is_trusted",
    "parse_manifest",
    "why_untrusted",
]
