"""The version of traceleft."""

__version__ = "0.1.0"
