"""Trace any syscall with prebuilt eBPF programs.

``Battery`` opens what ``traceleft build`` made, ``Tracer`` loads it and yields events; a ``Recording`` holds them for
later, a ``Replay`` shows them as a trace does. All that the documentation imports is here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceleft.aggregator import Aggregator as Aggregator
    from traceleft.aggregator import Result as Result
    from traceleft.aggregator import Rollup as Rollup
    from traceleft.aggregator import Row as Row
    from traceleft.aggregator import builtin as builtin
    from traceleft.aggregator import parse_rollups as parse_rollups
    from traceleft.aggregator import read_rollups as read_rollups
    from traceleft.aggregator.pages.overview import make_overview as make_overview
    from traceleft.aggregator.pages.report import render_overview as render_overview
    from traceleft.aggregator.pages.report import render_results as render_results
    from traceleft.aggregator.rollups.results import Groups as Groups
    from traceleft.aggregator.rollups.results import finish as finish
    from traceleft.aggregator.rules.rule import Alert as Alert
    from traceleft.aggregator.rules.rule import read_rules as read_rules
    from traceleft.aggregator.rules.watch import Watcher as Watcher
    from traceleft.aggregator.sinks.fanout import Sinks as Sinks
    from traceleft.aggregator.sinks.sink import Item as Item
    from traceleft.aggregator.sinks.sink import LostError as LostError
    from traceleft.aggregator.sinks.sink import Retry as Retry
    from traceleft.aggregator.sinks.sink import Sink as Sink
    from traceleft.aggregator.sinks.sink import SinkError as SinkError
    from traceleft.aggregator.sinks.sink import Target as Target
    from traceleft.aggregator.sinks.urls import open_sinks as open_sinks
    from traceleft.aggregator.streaming.kernel import plan_in_kernel as plan_in_kernel
    from traceleft.aggregator.streaming.kernel import result_of as result_of
    from traceleft.aggregator.streaming.kernel import try_kernel as try_kernel
    from traceleft.aggregator.streaming.kernel import wants_failed as wants_failed
    from traceleft.battery import Battery as Battery
    from traceleft.battery.builder.build import build as build
    from traceleft.errors import BatteryError as BatteryError
    from traceleft.errors import CommandError as CommandError
    from traceleft.errors import CompileError as CompileError
    from traceleft.errors import ExpressionError as ExpressionError
    from traceleft.errors import FormatError as FormatError
    from traceleft.errors import ProbeError as ProbeError
    from traceleft.errors import RecordingError as RecordingError
    from traceleft.errors import RefusedError as RefusedError
    from traceleft.errors import TraceleftError as TraceleftError
    from traceleft.errors import UnsupportedError as UnsupportedError
    from traceleft.generator import describe as describe
    from traceleft.generator import generate as generate
    from traceleft.tracer import Tracer as Tracer
    from traceleft.tracer.account.ledger import Figures as Figures
    from traceleft.tracer.account.ledger import Ledger as Ledger
    from traceleft.tracer.decode.batch import Batch as Batch
    from traceleft.tracer.decode.decoder import UndecodableError as UndecodableError
    from traceleft.tracer.decode.event import Event as Event
    from traceleft.tracer.decode.stack import Frame as Frame
    from traceleft.tracer.decode.stack import Stack as Stack
    from traceleft.tracer.recording import Recorder as Recorder
    from traceleft.tracer.recording import Recording as Recording
    from traceleft.tracer.replay import Replay as Replay
    from traceleft.tracer.replay import ReplayFilters as ReplayFilters
    from traceleft.tracer.session.filters import FilterOptions as FilterOptions
    from traceleft.tracer.session.maps import Count as Count
    from traceleft.tracer.session.options import BufferOptions as BufferOptions
    from traceleft.tracer.session.options import CountOptions as CountOptions
    from traceleft.tracer.session.options import DetailOptions as DetailOptions
    from traceleft.tracer.session.options import LimitOptions as LimitOptions
    from traceleft.tracer.session.options import ProbeOptions as ProbeOptions
    from traceleft.tracer.session.options import StackOptions as StackOptions

from traceleft.version import __version__

# Found on first use: `import traceleft` costs neither numpy nor libbpf.
_HOMES = {
    "Aggregator": "aggregator",
    "Alert": "aggregator.rules.rule",
    "Batch": "tracer.decode.batch",
    "Battery": "battery",
    "BatteryError": "errors",
    "BufferOptions": "tracer.session.options",
    "CommandError": "errors",
    "CompileError": "errors",
    "Count": "tracer.session.maps",
    "CountOptions": "tracer.session.options",
    "DetailOptions": "tracer.session.options",
    "Event": "tracer.decode.event",
    "ExpressionError": "errors",
    "Figures": "tracer.account.ledger",
    "FilterOptions": "tracer.session.filters",
    "FormatError": "errors",
    "Frame": "tracer.decode.stack",
    "Groups": "aggregator.rollups.results",
    "Item": "aggregator.sinks.sink",
    "Ledger": "tracer.account.ledger",
    "LimitOptions": "tracer.session.options",
    "LostError": "aggregator.sinks.sink",
    "ProbeError": "errors",
    "ProbeOptions": "tracer.session.options",
    "Recorder": "tracer.recording",
    "Recording": "tracer.recording",
    "RecordingError": "errors",
    "RefusedError": "errors",
    "Replay": "tracer.replay",
    "ReplayFilters": "tracer.replay",
    "Result": "aggregator",
    "Retry": "aggregator.sinks.sink",
    "Rollup": "aggregator",
    "Row": "aggregator",
    "Sink": "aggregator.sinks.sink",
    "SinkError": "aggregator.sinks.sink",
    "Sinks": "aggregator.sinks.fanout",
    "Stack": "tracer.decode.stack",
    "StackOptions": "tracer.session.options",
    "Target": "aggregator.sinks.sink",
    "TraceleftError": "errors",
    "Tracer": "tracer",
    "UndecodableError": "tracer.decode.decoder",
    "UnsupportedError": "errors",
    "Watcher": "aggregator.rules.watch",
    "build": "battery.builder.build",
    "builtin": "aggregator",
    "describe": "generator",
    "finish": "aggregator.rollups.results",
    "generate": "generator",
    "make_overview": "aggregator.pages.overview",
    "open_sinks": "aggregator.sinks.urls",
    "parse_rollups": "aggregator",
    "plan_in_kernel": "aggregator.streaming.kernel",
    "read_rollups": "aggregator",
    "read_rules": "aggregator.rules.rule",
    "render_overview": "aggregator.pages.report",
    "render_results": "aggregator.pages.report",
    "result_of": "aggregator.streaming.kernel",
    "try_kernel": "aggregator.streaming.kernel",
    "wants_failed": "aggregator.streaming.kernel",
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
