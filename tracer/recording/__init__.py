"""Recordings: what a trace saw, as bytes that any machine can read; see docs/reference/recording.md."""

from traceleft.tracer.recording.file_format import Head, make_head
from traceleft.tracer.recording.reader import Recording
from traceleft.tracer.recording.writer import Recorder

__all__ = ["Head", "Recorder", "Recording", "make_head"]
