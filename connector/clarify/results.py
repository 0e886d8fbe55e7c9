"""The results of writes. Unknown fields are ignored, because Clarify may add fields at any time.

An answer names every signal, and there can be thousands. So the entries are plain tuples with simple checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from connector.clarify.errors import Retryable

_Entry = TypeVar("_Entry")


class Created(NamedTuple):
    """The ID of the signal of a series, and whether this insert created the signal."""

    id: str
    created: bool


class Saved(NamedTuple):
    """The ID of the signal of saved metadata, and whether the save created or changed the signal."""

    id: str
    created: bool
    updated: bool


@dataclass(frozen=True, slots=True)
class InsertResult:
    """The outcome of an insert, by input ID. Clarify documents one entry for each sent series."""

    signals_by_input: Mapping[str, Created]


@dataclass(frozen=True, slots=True)
class SaveSignalsResult:
    """The outcome of a save of metadata, by input ID."""

    signals_by_input: Mapping[str, Saved]


def insert_result(result: Mapping[str, object], method: str) -> InsertResult:
    """The result of `integration.insert`. Raises Retryable if the result is not as documented."""
    return InsertResult(_entries(result, method, _created))


def save_signals_result(result: Mapping[str, object], method: str) -> SaveSignalsResult:
    """The result of `integration.saveSignals`. Raises Retryable if the result is not as documented."""
    return SaveSignalsResult(_entries(result, method, _saved))


def _created(summary: Mapping[str, object]) -> Created | None:
    signal, created = summary.get("id"), summary.get("created")
    return Created(signal, created) if isinstance(signal, str) and isinstance(created, bool) else None


def _saved(summary: Mapping[str, object]) -> Saved | None:
    signal, created, updated = summary.get("id"), summary.get("created"), summary.get("updated")
    if isinstance(signal, str) and isinstance(created, bool) and isinstance(updated, bool):
        return Saved(signal, created, updated)
    return None


def _entries(
    result: Mapping[str, object], method: str, read: Callable[[Mapping[str, object]], _Entry | None]
) -> dict[str, _Entry]:
    summaries = result.get("signalsByInput")
    if not isinstance(summaries, dict):
        raise _senseless(method, "signalsByInput is missing")
    entries: dict[str, _Entry] = {}
    for key, summary in summaries.items():
        entry = read(summary) if isinstance(summary, dict) else None
        if entry is None:
            raise _senseless(method, f"the entry of {key!r} is not as documented")
        entries[key] = entry
    return entries


def _senseless(method: str, wrong: str) -> Retryable:
    return Retryable(
        f"The result makes no sense: {wrong}. Try again later; check the API version if the error stays.",
        code=200,
        method=method,
        outcome_unknown=True,
    )
