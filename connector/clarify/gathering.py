"""Collects the parts of a long call, the data that all parts share, and the failure that ended the call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from connector.clarify.answers import DataSelection, Included, ItemSelection, SelectionMeta, SignalSelection
from connector.clarify.errors import ClarifyError

PartT = TypeVar("PartT", SignalSelection, ItemSelection, DataSelection)


@dataclass(frozen=True, slots=True)
class Gathered(Generic[PartT]):
    """The parts that were fetched, in their order."""

    parts: list[PartT]
    meta: SelectionMeta
    """The meta of the first part; the default without a part."""
    included: Included | None
    """The related resources of all parts, each once; None if no part has any."""
    failure: ClarifyError | None
    """The error that ended the fetching; None if all parts were fetched."""

    @property
    def is_nothing(self) -> bool:
        """Whether the first part failed already."""
        return self.failure is not None and not self.parts


def gather(parts: Iterator[PartT]) -> Gathered[PartT]:
    """Fetch all parts, up to the first ClarifyError. The error becomes `failure`, and is not raised."""
    fetched: list[PartT] = []
    included: Included | None = None
    failure: ClarifyError | None = None
    try:
        for part in parts:
            fetched.append(part)
            included = included.and_more(part.included) if included is not None else part.included
    except ClarifyError as error:
        failure = error
    return Gathered(fetched, fetched[0].meta if fetched else SelectionMeta(), included, failure)
