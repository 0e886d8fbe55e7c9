"""The final account of a demo: the numbers of plant, ledger and sandbox, and whether they agree."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from connector.runtime.ledger import Ledger


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The numbers of the plant, the ledger and the sandbox at the end of a demo."""

    ledger: Ledger
    acknowledged: Mapping[str, int]
    """Topic → messages of the plant that the broker acknowledged."""
    reasons: Mapping[str, int]
    """Reason → dead letters."""
    requests: int
    density: float
    """The share of the cells of all frames that had a value, 0 to 1."""
    signals: int
    sandbox_samples: int
    """Stored samples in the sandbox, at most one for each input and time."""
    broker: str
    seconds: float
    troubles: list[str] = field(default_factory=list)
    """Failures during the demo."""

    @property
    def published(self) -> int:
        """The number of messages that the broker acknowledged."""
        return sum(self.acknowledged.values())

    @property
    def samples_per_request(self) -> float:
        """The mean number of samples in a request; 0 without requests."""
        return self.ledger.total.samples.inserted / self.requests if self.requests else 0.0

    def problems(self) -> list[str]:
        """The reasons why this demo failed; empty after a success."""
        found = list(self.troubles)
        total = self.ledger.total
        for source in self.ledger.sources.values():
            found += source.problems
        if total.messages.waiting or total.samples.waiting:
            found.append(f"{total.messages.waiting} messages with {total.samples.waiting} samples still wait")
        missing = self.missing()
        if missing:
            topics = ", ".join(sorted(missing)[:5])
            found.append(f"{sum(missing.values())} acknowledged messages did not arrive, on topics such as {topics}")
        return found

    def missing(self) -> dict[str, int]:
        """Topic → acknowledged messages that are not in the ledger, for topics with such messages."""
        received: dict[str, int] = {}
        for source in self.ledger.sources.values():
            for topic, account in source.topics.items():
                received[topic] = received.get(topic, 0) + account.messages.received
        return {
            topic: count - received.get(topic, 0)
            for topic, count in self.acknowledged.items()
            if count > received.get(topic, 0)
        }

    def as_json(self) -> dict[str, object]:
        """The account as plain data; the counters at its top level count messages."""
        total = self.ledger.total
        return {
            **asdict(total.messages),
            "balanced": self.ledger.balanced,
            "requests": self.requests,
            "samples_per_request": round(self.samples_per_request, 1),
            "density": round(self.density, 4),
            "seconds": round(self.seconds, 2),
            "samples": asdict(total.samples),
            "signals": self.signals,
            "published": self.published,
            "broker": self.broker,
            "sandbox_samples": self.sandbox_samples,
            "dead_letters": dict(self.reasons),
            "problems": self.problems(),
        }

    def as_text(self) -> str:
        """The account for people, at most 80 columns wide."""
        total = self.ledger.total
        titles = ("received", "= inserted", "+ dead-lettered", "+ filtered", "+ superseded", "+ waiting")
        table = [" " * 9 + "".join(f" {title}" for title in titles)]
        for name, account in (("messages", total.messages), ("samples", total.samples)):
            counts = asdict(account).values()
            cells = (f" {count:>{len(title)},}" for title, count in zip(titles, counts, strict=True))
            table.append(name.ljust(9) + "".join(cells))
        missing = sum(self.missing().values())
        fate = f"{missing:,} of them did not arrive" if missing else "all of them arrived"
        sentences = [f"{self.broker} acknowledged {self.published:,} messages to the plant; {fate}."]
        sentences.append(
            f"The samples took {self.requests:,} requests, {self.samples_per_request:,.0f} samples each, in frames of "
            f"which {self.density:.0%} had values; the sandbox holds {self.sandbox_samples:,} different ones "
            f"of {self.signals:,} signals."
        )
        if self.reasons:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.reasons.items()))
            sentences.append(f"Dead letters: {reasons}.")
        sentences.append("The ledger balances." if self.ledger.balanced else "THE LEDGER DOES NOT BALANCE.")
        sentences += [f"PROBLEM: {problem}" for problem in self.problems()]
        return "\n".join([*table, "", *(textwrap.fill(sentence, 79) for sentence in sentences)])
