"""The policy after a failed request: pure functions from the failure to a verdict and a delay.

| failure                                            | verdict                                          |
|----------------------------------------------------|--------------------------------------------------|
| time-out, connection, 5xx, 408, 429, -32015, other | send the same again after a back-off with jitter |
| -32602 that names series or values                 | set exactly these aside, send the rest           |
| -32602 that names nothing, 413                     | halve                                            |
| -32602 that names something else than data         | hold: a person must act, the data is not blamed  |
| 401, 403, -32003, refused requests                 | hold                                             |

While a request is held, the connector keeps the data, is not ready, and goes on trying slowly. No verdict ever gives up
data that the server did not name as bad. `circuit` counts failures over time and over several methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from connector.clarify.errors import ClarifyError, InvalidParams, NamedInFrame, NotAllowed, Refused, Retryable, TooLarge

FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 20.0
"""The longest back-off, in seconds: data waits no longer than this after an outage."""
HOLD_DELAY: Final = 30.0
"""The longest time between two attempts while a person must act, in seconds."""
RETRY_AFTER_BOUND: Final = 600.0
"""The longest delay that a server may ask for, in seconds."""
_LEAST_SHARE: Final = 0.1
"""The least share of the delay after jitter, so that no request is sent again at once."""
_LEAST_SLOW_SHARE: Final = 0.25
_LEAST_HOLD_SHARE: Final = 0.5
_TOO_MUCH: Final = frozenset((408, 429, 503, 504, -32015))
"""Codes of answers by which a server may report too many requests."""
_PATIENT_SECONDS: Final = 1.0
"""A request without an answer after this time (seconds) has timed out; before this time, the connection broke."""


class Action(Enum):
    """The action after a failed request."""

    RETRY = auto()
    HOLD = auto()
    SET_ASIDE = auto()
    HALVE = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The action, the seconds until it, and the keys of the request to which it applies."""

    action: Action
    delay: float = 0.0
    """Seconds to wait before the action."""
    guilty: frozenset[str] = frozenset()
    """The keys that the server named as bad."""
    named: NamedInFrame | None = None
    """The parts of a frame to set aside."""


def judge_frame(error: ClarifyError, keys: Collection[str], rows: int) -> Verdict:
    """Returns the verdict on a failed insert of a frame with the series `keys` and this number of rows.

    The verdict has no delay: the circuit decides about the time of the next attempt.
    """
    verdict = _verdict(error, keys, "data.series")
    if not isinstance(error, InvalidParams):
        return verdict
    if named := error.named_in_frame(keys, rows):
        return Verdict(Action.SET_ASIDE, named=named)
    return Verdict(Action.HALVE) if verdict.action is Action.SET_ASIDE else verdict


def judge_request(
    error: ClarifyError, attempt: int, keys: Collection[str], prefix: str, chance: Callable[[], float]
) -> Verdict:
    """Returns the verdict on a failed request that carried `keys` below `prefix` (`data.series`, `signalsByInput`).

    `attempt` counts the failures of this request from 1; `chance` returns random numbers from 0 to 1.
    """
    verdict = _verdict(error, keys, prefix)
    if verdict.action is Action.HOLD:
        return replace(verdict, delay=hold_delay(error, chance))
    if verdict.action is Action.RETRY:
        return replace(verdict, delay=retry_delay(error, attempt, chance))
    return verdict


def retry_delay(error: ClarifyError, attempt: int, chance: Callable[[], float]) -> float:
    """Returns the seconds until the next attempt after `attempt` failures: exponential with jitter.

    The delay is at least the delay that the server asks for.
    """
    most = min(LAST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 10))
    return max(asked_delay(error), _jittered(most, _LEAST_SHARE, chance))


def slow_delay(error: ClarifyError, chance: Callable[[], float]) -> float:
    """Returns the seconds until the next probe of a method that has failed for long."""
    return max(asked_delay(error), _jittered(LAST_DELAY, _LEAST_SLOW_SHARE, chance))


def hold_delay(error: ClarifyError, chance: Callable[[], float]) -> float:
    """Returns the seconds until the next attempt while a person must act."""
    return max(asked_delay(error), _jittered(HOLD_DELAY, _LEAST_HOLD_SHARE, chance))


def asked_delay(error: ClarifyError) -> float:
    """Returns the delay that the server asks for, in seconds, up to `RETRY_AFTER_BOUND`; 0 if it asks for none."""
    asked = error.retry_after if isinstance(error, Retryable) and error.retry_after else 0.0
    return min(asked, RETRY_AFTER_BOUND)


def is_too_much(error: ClarifyError, seconds: float) -> bool:
    """Whether a request that failed after `seconds` failed because of too many requests.

    Clarify does not document its answer to too many requests, so several answers count.
    """
    return isinstance(error, Retryable) and (
        error.code in _TOO_MUCH
        or error.retry_after is not None
        or (error.outcome_unknown and error.code is None and seconds > _PATIENT_SECONDS)
    )


def _verdict(error: ClarifyError, keys: Collection[str], prefix: str) -> Verdict:
    if isinstance(error, InvalidParams):
        guilty = error.guilty(prefix, keys)
        if guilty:
            return Verdict(Action.SET_ASIDE, guilty=frozenset(guilty))
        root = prefix.partition(".")[0]
        if error.problems and not any(problem.path.startswith(root) for problem in error.problems):
            return Verdict(Action.HOLD)
        return Verdict(Action.HALVE)
    if isinstance(error, TooLarge):
        return Verdict(Action.HALVE)
    if isinstance(error, NotAllowed | Refused):
        return Verdict(Action.HOLD)
    return Verdict(Action.RETRY)


def _jittered(most: float, least_share: float, chance: Callable[[], float]) -> float:
    return most * (least_share + (1 - least_share) * chance())
