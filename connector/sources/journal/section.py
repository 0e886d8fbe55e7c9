"""The section `journal` of an MQTT source."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from connector.settings import Bytes, Section

JOURNAL_HELP: Final = {
    "journal_bytes": "Bytes that wait in the journal",
    "journal_max_bytes": "Bound of the journal in bytes",
    "journal_unread_messages": "Messages in the journal that were not taken in yet",
}
"""Name of a metric of a journal → its help text on the metrics page."""


class JournalSection(Section):
    """The place where messages wait between the broker and Clarify."""

    storage: Literal["disk", "memory"] = Field(
        default="disk",
        description="`disk`: each message is on disk before it is acknowledged; a crash or a long outage "
        "loses nothing. `memory`: a message is acknowledged when it is settled; the broker keeps only as many waiting "
        "messages as its own queue holds.",
    )
    max_bytes: Bytes = Field(
        default="1GiB",  # type: ignore[assignment]
        description="The most bytes that may wait. At this bound, the connector stops reading from the broker; it "
        "drops nothing.",
        ge=64 * 1024,
    )


def with_short_form(value: object) -> object:
    """Returns the section as a mapping: `journal: memory` is short for `journal: {storage: memory}`."""
    return {"storage": value} if isinstance(value, str) else value
