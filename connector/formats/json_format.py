"""JSON as a format: one document a payload."""

from __future__ import annotations

from connector.formats import json_payload


class JsonFormat:
    """JSON, as `json_payload` reads it."""

    name = "json"

    def decode(self, payload: bytes) -> object:
        """The payload's document."""
        return json_payload.decode(payload)
