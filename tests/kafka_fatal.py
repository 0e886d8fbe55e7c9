"""A fatal error made on purpose: librdkafka has a call for it, which confluent-kafka does not offer."""

from __future__ import annotations

import ctypes
from pathlib import Path

from confluent_kafka import Consumer, Producer

_OBJECT_HEADER = 16
"""Bytes before the pointer to librdkafka's client, which is the first thing that a confluent-kafka client keeps."""


def make_fatal(client: Consumer | Producer, code: int, reason: str) -> None:
    """From now on this client reports a fatal error, as librdkafka itself would."""
    loaded = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "librdkafka" in line]
    function = ctypes.CDLL(loaded[0]).rd_kafka_test_fatal_error
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    pointer = ctypes.c_void_p.from_address(id(client) + _OBJECT_HEADER)
    assert function(pointer, code, reason.encode()) == 0
