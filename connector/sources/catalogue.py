"""The catalogue of the kinds of sources: the built-in kinds, and the kinds of other packages.

Another package adds a kind by an entry point of the group `clarify_connector.sources`. The name of the entry point is
the kind's `type`, its value is the class of the kind's section (see `section.SourceSection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from connector.settings import Catalogue
from connector.sources.section import SourceSection

SOURCES: Final = Catalogue(
    "clarify_connector.sources",
    SourceSection,
    {
        "mqtt": "connector.sources.mqtt.section:MqttSection",
        "kafka": "connector.sources.kafka.section:KafkaSection",
        "file": "connector.sources.file.section:FileSection",
    },
)

if TYPE_CHECKING:
    AnySource: TypeAlias = SourceSection
else:
    AnySource = SOURCES.field()
"""The type of a field that holds the section of any kind of source."""
