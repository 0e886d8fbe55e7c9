"""The section of the format `telegram`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from connector.formats.section import MAX_PAYLOAD, NO_REGISTRIES, FormatSection, Registries

if TYPE_CHECKING:
    from clarify_connector_spool.format import TelegramFormat


class TelegramSection(FormatSection):
    """A telegram such as `$boiler,t=21.5,p=4.1*28`: a device, its values, and a checksum."""

    reasons: ClassVar[Mapping[str, str]] = {
        "invalid_telegram": "The line is no telegram. Mend what writes the files, or skip the topic; then replay.",
        "wrong_checksum": "The telegram was damaged on the serial line: look at its cable and shield. Drop the letter.",
    }

    type: Literal["telegram"] = Field(description="The payload is a telegram.")
    checksum: bool = Field(default=True, description="Whether a telegram with a wrong checksum is a dead letter.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> TelegramFormat:
        """The format."""
        from clarify_connector_spool.format import TelegramFormat

        return TelegramFormat(checksum=self.checksum)
