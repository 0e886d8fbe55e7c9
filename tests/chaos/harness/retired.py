"""A topic that is deleted takes with it what nobody had read; what that was, and what may be missing then.

Nobody can bring these records. But the connector knows where it stood, and has to say that the topic is another one:
only where its ledger says so, at that time, may anything be missing, and only the last records, which were not settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.chaos.harness.messages import ANEW_TOPIC, number_of
from tests.chaos.harness.verdict import Allowed


@dataclass(frozen=True, slots=True)
class Retired:
    """One life of the topic."""

    at: float
    """When it was deleted, in seconds since the epoch."""
    marks: frozenset[str]
    """What the group had not settled."""


def gone_with_topic(retired: Sequence[Retired], ledger: Mapping[str, Any], stored: AbstractSet[str]) -> list[Allowed]:
    """For each life, what may be missing: what comes after the last record that was stored, if the ledger has an
    incident about the topic from before the end of the next life.

    A dead letter does not say how far the samples came: a letter is written when its chunk is mapped, before any sample
    of the chunk is sent, and a kill may come between the two.
    """
    said = [
        datetime.fromisoformat(at).timestamp()
        for source in ledger["sources"].values()
        for at, _, text in (incident.partition(" ") for incident in source["incidents"])
        if f"{ANEW_TOPIC}[0]" in text
    ]
    ends = [*(life.at for life in retired), float("inf")]
    found = []
    for life, (begin, end) in zip(retired, pairwise(ends), strict=True):
        last = max((number_of(mark) for mark in life.marks & stored), default=0)
        marks = frozenset(mark for mark in life.marks if number_of(mark) > last)
        found.append(Allowed(marks, len(marks) if any(int(begin) <= at < end for at in said) else 0))
    return found
