"""Protocols: what an experiment compares and how it is judged, fixed before its first run.

One TOML file per experiment. It is never edited once a record names it: every record carries the
file's hash in its settings, and another setting, arm or seed is another protocol. So a reader can
check that the question is older than the answer, and a test does.
"""

from saa_lite.protocols.load import Contrast, Gate, Protocol, list_protocols, load_protocol

__all__ = ["Contrast", "Gate", "Protocol", "list_protocols", "load_protocol"]
