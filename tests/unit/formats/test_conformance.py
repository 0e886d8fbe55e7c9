"""Every built-in format keeps the promises of connector/formats/format.py."""

from __future__ import annotations

import pytest

from connector.conformance.formats import Example, FormatConformance
from connector.formats.format import PayloadError
from connector.records import Reason
from tests.format_examples import EXAMPLES


class TestFormats(FormatConformance):
    @pytest.fixture(params=EXAMPLES.values(), ids=EXAMPLES)
    def example(self, request: pytest.FixtureRequest) -> Example:
        found: Example = request.param
        return found


# -- the suite finds what breaks a promise -----------------------------------------------------------


class Odd:
    """A format that does as it is told with every payload that is not `ok`."""

    name = "odd"

    def __init__(self, found: object) -> None:
        self._found = found

    def decode(self, payload: bytes) -> object:
        if payload == b"ok":
            return 1.0
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "it is empty")
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.mark.parametrize(
    "found",
    [
        ValueError("a bug"),
        PayloadError(Reason("made_up"), "a reason that nobody declares"),
        PayloadError(Reason.INVALID_TEXT, ""),
        {1: 2},
        {1, 2},
    ],
    ids=repr,
)
def test_a_format_that_breaks_its_promises_does_not_pass(found: object) -> None:
    example = Example(Odd(found), b"ok")
    FormatConformance().test_a_good_payload_becomes_documents(example)
    with pytest.raises((AssertionError, ValueError)):
        FormatConformance().test_a_payload_with_any_byte_changed_is_refused_or_read(example)


def test_a_declared_reason_passes() -> None:
    odd = Odd(PayloadError(Reason("made_up"), "it is odd"))
    example = Example(odd, b"ok", {"made_up": "Mend the device; then replay."})
    FormatConformance().test_a_payload_with_any_byte_changed_is_refused_or_read(example)
    FormatConformance().test_every_reason_of_its_own_has_a_remedy(example)
    with pytest.raises(AssertionError):
        FormatConformance().test_every_reason_of_its_own_has_a_remedy(Example(odd, b"ok", {"made_up": " "}))
