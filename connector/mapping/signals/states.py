"""Learned states: texts of enum signals, numbered in the order of their arrival. A number never changes its meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from connector.clarify.limits import ENUM_TEXT_LENGTH, ENUM_VALUE_MAX
from connector.mapping.rules.values import ValueRejectedError
from connector.records import Reason

_MOST: Final = 256


class LearnedStates:
    """The numbers of the learned texts. `known` comes from earlier runs: input ID → text → number."""

    def __init__(self, known: Mapping[str, Mapping[str, int]]) -> None:
        self._known = {input_id: dict(states) for input_id, states in known.items()}
        self.new: list[tuple[str, str, int]] = []
        """New (input ID, text, number) since the caller last took them; to be stored before their samples are sent."""

    def of(self, input_id: str) -> Mapping[str, int]:
        """Text → number, for the learned states of a signal."""
        return self._known.get(input_id, {})

    def learn(self, input_id: str, text: str, declared: Collection[int]) -> tuple[int, bool]:
        """(number of the text, whether it is new); `declared` has the numbers that the rule uses.

        Raises `ValueRejectedError` if the text is too long, or if there are too many states: a text that differs in
        each message would make states without end.
        """
        states = self._known.setdefault(input_id, {})
        number = states.get(text)
        if number is not None:
            return number, False
        if len(text) > ENUM_TEXT_LENGTH:
            raise ValueRejectedError(
                Reason.UNKNOWN_STATE, f"more than {ENUM_TEXT_LENGTH} characters are no state's name"
            )
        if len(states) >= _MOST:
            raise ValueRejectedError(
                Reason.UNKNOWN_STATE,
                f"{_MOST} states of this signal were learned; is the value free text? Declare the states",
            )
        number = max((*declared, *states.values()), default=-1) + 1
        if number > ENUM_VALUE_MAX:
            raise ValueRejectedError(Reason.UNKNOWN_STATE, f"no number up to {ENUM_VALUE_MAX} is free for this state")
        states[text] = number
        self.new.append((input_id, text, number))
        return number, True
