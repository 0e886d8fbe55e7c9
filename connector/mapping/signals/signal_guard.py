"""The guard against a high bill: decides about new signals.

Clarify charges for signals, and one wildcard can make ten thousand. Known signals always pass. A new signal passes, is
held until a person approves it, or is rejected. Above the greatest number of signals, new signals are held. Samples
that do not pass become dead letters, so nothing is lost: after an approval, these letters can be replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from connector.mapping.signals.input_ids import Unclaimed
from connector.records import Mapped, Reason, Reject, Sample, of_integration

MAX_HELD: Final = 100_000
"""The most held signals that are remembered and can be listed."""

NewSignals = Literal["allow", "hold", "reject"]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """The limits for new signals."""

    max_signals: int | None = None
    """The most signals; None if the number is not bounded."""
    on_new: NewSignals = "allow"

    @property
    def active(self) -> bool:
        """Whether there is any limit."""
        return self.max_signals is not None or self.on_new != "allow"

    @property
    def most_claims(self) -> int | None:
        """The most input IDs to remember, of known and held signals; None if the number is not bounded."""
        return None if self.max_signals is None else self.max_signals + MAX_HELD


class SignalGuard:
    """Knows the signals that may have samples. For one thread at a time."""

    def __init__(self, settings: GuardSettings, known: Collection[str], held: Iterable[str] = ()) -> None:
        """`known` has the input IDs of signals that pass already, `held` of signals that wait for an approval.

        The greatest number of signals counts for each integration alone.
        """
        self.settings = settings
        self._known = set(known)
        self._in = Counter(of_integration(input_id)[0] for input_id in self._known)
        """Integration → number of its signals that pass."""
        self._held = dict.fromkeys(held)
        self.new_known: list[str] = []
        """Signals that were let in since the caller last took them; the caller must store them."""
        self.new_held: list[str] = []
        """Signals that were held for the first time since the caller last took them."""
        self.refused = 0
        """Number of samples that did not pass."""

    def signals(self) -> Mapping[str, int]:
        """Returns integration → number of signals that may have samples."""
        return dict(self._in)

    def held(self) -> Mapping[str, int]:
        """Returns integration → number of signals that wait for an approval."""
        return Counter(of_integration(input_id)[0] for input_id in list(self._held))

    def lets_in(self, input_id: str) -> bool:
        """Whether the signal may have samples."""
        return input_id in self._known

    def holds(self, input_id: str) -> bool:
        """Whether the signal waits for an approval."""
        return input_id in self._held

    def approve(self, inputs: Iterable[str]) -> None:
        """Let the signals `inputs` in, because a person has approved them."""
        for input_id in inputs:
            self._let_in(input_id)
            self._held.pop(input_id, None)

    def _let_in(self, input_id: str) -> None:
        if input_id not in self._known:
            self._known.add(input_id)
            self._in[of_integration(input_id)[0]] += 1

    def lets_all_in(self, inputs: Iterable[str]) -> bool:
        """Whether all of the signals may have samples already."""
        return self._known.issuperset(inputs)

    def check(self, mapped: Mapped) -> Mapped:
        """Returns the outcome, with a reject for each sample whose signal is not let in."""
        known = self._known
        for sample in mapped.samples:
            if sample[0] not in known:
                return self._check_each(mapped)
        return mapped

    def _check_each(self, mapped: Mapped) -> Mapped:
        kept: list[Sample] = []
        rejects = list(mapped.rejects)
        for sample in mapped.samples:
            refusal = None if sample[0] in self._known else self._ask(sample[0])
            if refusal is None:
                kept.append(sample)
            else:
                self.refused += 1
                reason, message = refusal
                rejects.append(Reject(reason, message, f"{sample[0]}@{sample[1]}", repr(sample[2])))
        return Mapped(kept, rejects, mapped.filtered, mapped.skipped)

    def _ask(self, input_id: str) -> tuple[Reason, str] | None:
        """Decide about a new signal; returns the reason and the text of a refusal, or None if the signal is let in."""
        most = self.settings.max_signals
        on_new = self.settings.on_new
        if on_new == "reject":
            return Reason.SIGNAL_REJECTED, f"{input_id!r} would be a new signal, and signals.on_new is reject"
        why = "signals.on_new is hold"
        there = self._in[of_integration(input_id)[0]]
        if most is not None and there >= most:
            why = f"there are already {there} signals (signals.max is {most})"
        elif on_new == "allow" and type(input_id) is not Unclaimed:
            self._let_in(input_id)
            self.new_known.append(input_id)
            return None
        if type(input_id) is Unclaimed:
            why = "there is no room to remember its origin: too many, or too long, topics and paths are known already"
            remedy = "find out who sends these topics, or raise signals.max"
            return Reason.SIGNAL_HELD, f"{input_id!r} would be a new signal, and {why}; {remedy}"
        if input_id not in self._held and len(self._held) < MAX_HELD:
            self._held[input_id] = None
            self.new_held.append(input_id)
        return (
            Reason.SIGNAL_HELD,
            f"{input_id!r} would be a new signal, and {why}; approve it (clarify-connector new-signals), then replay",
        )
