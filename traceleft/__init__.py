"""Trace any syscall with prebuilt eBPF programs.

``Battery`` opens what ``traceleft build`` made, ``Tracer`` loads it and yields events; a ``Recording`` holds them for
later, a ``Replay`` shows them as a trace does. All that the documentation imports is here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.aggregator import Aggregator as Aggregator
    from traceleft.aggregator import Result as Result
    from traceleft.aggregator import Rollup as Rollup
    from traceleft.aggregator import builtin as builtin
    from traceleft.aggregator import read_rollups as read_rollups
    from traceleft.aggregator.pages.overview import make_overview as make_overview
    from traceleft.aggregator.pages.report import render_overview as render_overview
    from traceleft.aggregator.rollups.finish import Groups as Groups
    from traceleft.aggregator.rollups.finish import finish as finish
    from traceleft.aggregator.rules.rule import Alert as Alert
    from traceleft.aggregator.rules.rule import read_rules as read_rules
    from traceleft.aggregator.rules.watch import Watcher as Watcher
    from traceleft.aggregator.sinks.sink import Sink as Sink
    from traceleft.aggregator.sinks.urls import Sinks as Sinks
    from traceleft.aggregator.sinks.urls import open_sinks as open_sinks
    from traceleft.battery import Battery as Battery
    from traceleft.battery.builder.build import build as build
    from traceleft.errors import TraceleftError as TraceleftError
    from traceleft.generator import describe as describe
    from traceleft.generator import generate as generate
    from traceleft.tracer import Tracer as Tracer
    from traceleft.tracer.account.ledger import Ledger as Ledger
    from traceleft.tracer.decode.batch import Batch as Batch
    from traceleft.tracer.decode.event import Event as Event
    from traceleft.tracer.recording import Recorder as Recorder
    from traceleft.tracer.recording import Recording as Recording
    from traceleft.tracer.replay import Replay as Replay

from traceleft.version import __version__

# Found on first use: `import traceleft` costs neither numpy nor libbpf.
_HOMES = {
    "Aggregator": "aggregator",
    "Alert": "aggregator.rules.rule",
    "Batch": "tracer.decode.batch",
    "Battery": "battery",
    "Event": "tracer.decode.event",
    "Groups": "aggregator.rollups.finish",
    "Ledger": "tracer.account.ledger",
    "Recorder": "tracer.recording",
    "Recording": "tracer.recording",
    "Replay": "tracer.replay",
    "Result": "aggregator",
    "Rollup": "aggregator",
    "Sink": "aggregator.sinks.sink",
    "Sinks": "aggregator.sinks.urls",
    "TraceleftError": "errors",
    "Tracer": "tracer",
    "Watcher": "aggregator.rules.watch",
    "build": "battery.builder.build",
    "builtin": "aggregator",
    "describe": "generator",
    "finish": "aggregator.rollups.finish",
    "generate": "generator",
    "make_overview": "aggregator.pages.overview",
    "open_sinks": "aggregator.sinks.urls",
    "read_rollups": "aggregator",
    "read_rules": "aggregator.rules.rule",
    "render_overview": "aggregator.pages.report",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
