"""What every format's section is."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from pydantic import Field

from connector.formats.schema.schemas import Schemas
from connector.settings import Section

if TYPE_CHECKING:
    from connector.formats.format import Format

MAX_PAYLOAD: Final = 4 * 1024 * 1024
Registries: TypeAlias = Mapping[str, Schemas]
"""Schema registries by their names in `schema_registries`."""
NO_REGISTRIES: Final[Registries] = MappingProxyType({})


class FormatSection(Section):
    """How a payload is written.

    A format is a subclass: its fields are the settings, and `build` makes what decodes. `build` imports the format's
    libraries itself, so that only a format that is used loads them.
    """

    reasons: ClassVar[Mapping[str, str]] = {}
    """Reasons of dead letters that only this format has → what a person can do about such a letter."""

    type: str = Field(description="The format.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format. `registry` has the schema registries of the configuration; `max_payload` bounds, in bytes, what
        a compressed part of a payload may become. Raises `ValueError`, which says what to change, if a file that the
        section names cannot be used, or a registry is missing."""
        raise NotImplementedError

    def registry_problem(self, names: Mapping[str, object]) -> str | None:
        """What is wrong with the registry that this format needs, when these are the ones there are."""
        del names
        return None
