"""MessagePack: one document a payload. Timestamps become datetimes, other extension types become bytes."""

from __future__ import annotations

from typing import Final

import msgspec

from connector.formats.binary.plain import Plain
from connector.formats.binary.survey import (
    MESSAGEPACK_CONTAINERS,
    check_containers,
    check_keys,
    messagepack_has_odd_keys,
    survey_messagepack,
)
from connector.formats.format import PayloadError
from connector.records import Reason

_FLOAT32: Final = b"\xca"


class MessagePackFormat:
    """The format MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md."""

    name = "messagepack"

    def __init__(self) -> None:
        self._decoder = msgspec.msgpack.Decoder(ext_hook=_extension)
        self._encoder = msgspec.msgpack.Encoder()

    def decode(self, payload: bytes) -> object:
        """The document of the payload. Raises `PayloadError`."""
        if not payload:
            raise PayloadError(Reason.EMPTY_PAYLOAD, "the payload is empty")
        check_containers(payload, MESSAGEPACK_CONTAINERS, survey_messagepack)
        check_keys(payload, messagepack_has_odd_keys)
        try:
            found = self._decoder.decode(payload)
        except RecursionError:
            raise PayloadError(Reason.NESTED_TOO_DEEPLY, "maps or arrays are nested too deeply") from None
        except UnicodeDecodeError as error:
            raise _wrong(f"a text is not UTF-8: {error.reason}") from None
        except (msgspec.DecodeError, OverflowError) as error:
            raise _wrong(str(error)) from None
        document = Plain(len(payload)).of(found)
        if isinstance(document, dict | list) and self._may_repeat_keys(payload, document):
            lost = survey_messagepack(payload).entries - _entries(document)
            if lost > 0:
                raise PayloadError(Reason.DUPLICATE_KEY, f"a key stands twice in a map; {lost} values would be lost")
        return document

    def _may_repeat_keys(self, payload: bytes, document: object) -> bool:
        """Whether a map of the payload may have a key twice; the decoder keeps only the last of the two entries.

        If no entry was lost, encoding the document gives as many bytes as the payload has. Payloads with 32-bit floats,
        or from a wasteful encoder, are exceptions: for them the answer is True.
        """
        return _FLOAT32 in payload or len(self._encoder.encode(document)) != len(payload)


def _entries(document: object) -> int:
    if isinstance(document, dict):
        return len(document) + sum(map(_entries, document.values()))
    return sum(map(_entries, document)) if isinstance(document, list) else 0


def _extension(_code: int, data: memoryview) -> bytes:
    return bytes(data)


def _wrong(message: str) -> PayloadError:
    return PayloadError(Reason.INVALID_MESSAGEPACK, message.removeprefix("MessagePack data is malformed: "))
