"""Recordings: what a trace saw, as bytes that any machine can read; see docs/recording.md."""

from traceleft.tracer.recording_format import Head, make_head
from traceleft.tracer.recording_reader import Recording
from traceleft.tracer.recording_writer import Recorder

__all__ = ["Head", "Recorder", "Recording", "make_head"]
