"""A data frame that is larger than one request, in parts that are not.

Rows stay together as long as possible, since a part with few rows pays for its series' names again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import TooLarge

_AIM: Final = 0.97
"""Share of the limit that parts are made for: rows are not all of one length."""


def split(frame: DataFrame, most_bytes: int) -> Iterator[tuple[DataFrame, bytes]]:
    """The frame in parts of at most `most_bytes` when encoded, each with its encoding.

    TooLarge if a single value does not fit, which takes a limit that is far below Clarify's.
    """
    encoded = frame.to_wire_bytes()
    if len(encoded) <= most_bytes:
        yield frame, encoded
        return
    parts = len(encoded) / (most_bytes * _AIM)
    del encoded
    rows, series = len(frame), list(frame.series)
    if rows > 1:
        step = max(1, min(rows - 1, int(rows / parts)))
        for first in range(0, rows, step):
            yield from split(frame.rows(first, min(rows, first + step)), most_bytes)
    elif len(series) > 1:
        step = max(1, min(len(series) - 1, int(len(series) / parts)))
        for first in range(0, len(series), step):
            yield from split(frame.only(series[first : first + step]), most_bytes)
    else:
        raise TooLarge(f"A single value takes more than the {most_bytes} bytes of a request.")
