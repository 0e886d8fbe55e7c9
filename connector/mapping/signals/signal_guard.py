"""The guard against the bill: which new signals may come into being.

Clarify charges for signals, and one wildcard can make ten thousand. Signals that were there before are never touched.
A new one is let in, held until a person approves it, or rejected; above the greatest number, new ones are held. What
is not let in becomes dead letters, so nothing is lost: after an approval, those can be replayed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from connector.mapping.signals.input_ids import Unclaimed
from connector.records import Mapped, Reason, Reject, Sample

MAX_HELD: Final = 100_000
"""Held signals that are remembered, and can be listed."""

NewSignals = Literal["allow", "hold", "reject"]


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """What may come into being."""

    max_signals: int | None = None
    """None: any number."""
    on_new: NewSignals = "allow"

    @property
    def active(self) -> bool:
        """Whether there is anything to guard against."""
        return self.max_signals is not None or self.on_new != "allow"

    @property
    def most_claims(self) -> int | None:
        """How many input IDs need to be remembered: those let in, and those that wait for an approval."""
        return None if self.max_signals is None else self.max_signals + MAX_HELD


class SignalGuard:
    """Knows the signals that are let in. For one thread at a time."""

    def __init__(self, settings: GuardSettings, known: Collection[str], held: Iterable[str] = ()) -> None:
        """`known` are the input IDs that are let in already."""
        self._settings = settings
        self._known = set(known)
        self._held = dict.fromkeys(held)
        self.new_known: list[str] = []
        """Let in since the caller last took them: to be remembered."""
        self.new_held: list[str] = []
        """Held for the first time since the caller last took them."""
        self.refused = 0
        """Samples that were not let in."""

    @property
    def signals(self) -> int:
        """How many are let in."""
        return len(self._known)

    @property
    def held(self) -> int:
        """How many wait for an approval."""
        return len(self._held)

    def lets_in(self, input_id: str) -> bool:
        """Whether this signal may have samples."""
        return input_id in self._known

    def holds(self, input_id: str) -> bool:
        """Whether this signal waits for an approval."""
        return input_id in self._held

    def approve(self, inputs: Iterable[str]) -> None:
        """A person wants these."""
        for input_id in inputs:
            self._known.add(input_id)
            self._held.pop(input_id, None)

    def lets_all_in(self, inputs: Iterable[str]) -> bool:
        """Whether all of these signals are let in already."""
        return self._known.issuperset(inputs)

    def check(self, mapped: Mapped) -> Mapped:
        """The same without the samples of signals that are not let in, which are rejects."""
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
        """Why this new signal is not let in; None if it is."""
        most = self._settings.max_signals
        on_new = self._settings.on_new
        if on_new == "reject":
            return Reason.SIGNAL_REJECTED, f"{input_id!r} would be a new signal, and signals.on_new is reject"
        why = "signals.on_new is hold"
        if most is not None and len(self._known) >= most:
            why = f"there are {len(self._known)} already (signals.max is {most})"
        elif on_new == "allow" and type(input_id) is not Unclaimed:
            self._known.add(input_id)
            self.new_known.append(input_id)
            return None
        if type(input_id) is Unclaimed:
            why = "there is no room to remember whose it is: so many, or such long, topics and paths are known already"
            remedy = "find out who sends them, or raise signals.max"
            return Reason.SIGNAL_HELD, f"{input_id!r} would be a new signal, and {why}; {remedy}"
        if input_id not in self._held and len(self._held) < MAX_HELD:
            self._held[input_id] = None
            self.new_held.append(input_id)
        return (
            Reason.SIGNAL_HELD,
            f"{input_id!r} would be a new signal, and {why}; approve it (clarify-connector new-signals), then replay",
        )
