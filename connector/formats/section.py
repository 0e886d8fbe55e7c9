"""The base of the sections of all formats."""

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
"""The default bound of a payload, in bytes, when it is decompressed."""
Registries: TypeAlias = Mapping[str, Schemas]
"""Name in `schema_registries` → schema registry."""
NO_REGISTRIES: Final[Registries] = MappingProxyType({})


class FormatSection(Section):
    """The format of a payload.

    A format is a subclass: its fields are the settings, and `build` makes the decoder. `build` imports the libraries of
    the format itself, so that only a format that is used loads its libraries.
    """

    reasons: ClassVar[Mapping[str, str]] = {}
    """Reason of dead letters that only this format has → a remedy, for people."""

    own_input: ClassVar[str] = ""
    """What tells the values of the documents apart in the default input ID, as a template: `{payload.series}:{field}`.

    Empty: the path of the value does.
    """
    own_values: ClassVar[tuple[str, ...]] = ()
    """The only fields of the documents that are values, if the rule names none; empty: any field may be one."""
    single_items: ClassVar[bool] = False
    """Whether a list of one item is written as this item: an object with a name is then an item at any place."""

    type: str = Field(description="The format.")

    def build(self, registry: Registries = NO_REGISTRIES, max_payload: int = MAX_PAYLOAD) -> Format:
        """The format with these settings.

        `registry` has the schema registries of the configuration. `max_payload` is the most bytes that a compressed
        part of a payload may have when it is decompressed. Raises `ValueError`, with a remedy, if a file that the
        section names cannot be used, or if a registry is missing.
        """
        raise NotImplementedError

    def registry_problem(self, names: Mapping[str, object]) -> str | None:
        """Why the format cannot find its schema registry among `names`, for people; None without a problem."""
        del names
        return None
