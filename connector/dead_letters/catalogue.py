"""The kinds of stores of dead letters: the built-in kinds, and the kinds of other packages.

Another package adds a kind by an entry point of the group `clarify_connector.dead_letters`. The name of the entry point
is the kind's `type`; its value is the class of the kind's section (see `section.DeadLettersSection`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import BeforeValidator

from connector.dead_letters.section import DeadLettersSection
from connector.settings import Catalogue

STORES: Final = Catalogue(
    "clarify_connector.dead_letters",
    DeadLettersSection,
    {
        "sqlite": "connector.dead_letters.section:SqliteLettersSection",
        "file": "connector.dead_letters.section:FileLettersSection",
        "mqtt": "connector.dead_letters.broker_sections:MqttLettersSection",
        "kafka": "connector.dead_letters.broker_sections:KafkaLettersSection",
    },
)


def _with_type(value: object) -> object:
    """The section with `type: sqlite` if it has no type: SQLite is the default store."""
    return {"type": "sqlite", **value} if isinstance(value, dict) and "type" not in value else value


if TYPE_CHECKING:
    AnyStore: TypeAlias = DeadLettersSection
else:
    AnyStore = Annotated[STORES.field(), BeforeValidator(_with_type)]
"""The type of a field that holds the section of any kind of store."""
