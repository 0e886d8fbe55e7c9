"""The kinds of sources: those that are built in, and those of other packages.

Another package adds a kind by an entry point of the group `clarify_connector.sources`: its name is the kind's `type`,
its value the class of its section (see `section.SourceSection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from connector.settings import Catalogue
from connector.sources.file.section import FileSection
from connector.sources.kafka.section import KafkaSection
from connector.sources.mqtt.section import MqttSection
from connector.sources.section import SourceSection

SOURCES: Final = Catalogue("clarify_connector.sources", SourceSection, (MqttSection, KafkaSection, FileSection))

if TYPE_CHECKING:
    AnySource: TypeAlias = SourceSection
else:
    AnySource = SOURCES.field
"""The type of a field that holds the section of any kind of source."""
