"""Counters since the start of the sandbox, in memory, changed only on the event loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """The counters behind `GET /sandbox/stats`."""

    requests: Counter[str] = field(default_factory=Counter)  # by method; "token" for token requests
    errors: Counter[int] = field(default_factory=Counter)  # RPC errors by code
    refusals: Counter[int] = field(default_factory=Counter)  # HTTP errors by status
    faults: Counter[str] = field(default_factory=Counter)  # faults that were applied, by kind
    samples: int = 0  # values in successful inserts, with repeated values
    delayed: int = 0  # requests that had to wait for their turn
    timeouts: int = 0

    def document(self) -> dict[str, object]:
        """The counters as JSON; `rejected` is the number of all RPC errors."""
        return {
            "requests": dict(self.requests),
            "samples": self.samples,
            "rejected": self.errors.total(),
            "errors": {str(code): count for code, count in self.errors.items()},
            "refusals": {str(status): count for status, count in self.refusals.items()},
            "delayed": self.delayed,
            "timeouts": self.timeouts,
            "faults": dict(self.faults),
        }
