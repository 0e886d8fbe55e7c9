"""The refusal of a payload, for the tests of every format."""

from __future__ import annotations

import pytest

from connector.formats.format import Format, PayloadError


def refused(format_: Format, payload: bytes) -> PayloadError:
    """The error with which this format refuses this payload."""
    with pytest.raises(PayloadError) as error:
        format_.decode(payload)
    return error.value
