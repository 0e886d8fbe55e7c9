"""What to do after a request failed: pure functions from the failure to a verdict, and to how long to wait.

| failure                                            | verdict                                          |
|----------------------------------------------------|--------------------------------------------------|
| time-out, connection, 5xx, 408, 429, -32015, other | send the same again after a back-off with jitter |
| -32602 that names series or values                 | set exactly those aside, send the rest           |
| -32602 that names nothing, 413                     | halve                                            |
| -32602 that names something else than data         | hold: a person must act, the data is not blamed  |
| 401, 403, -32003, refused requests                 | hold                                             |

Holding keeps the data, goes unready and goes on trying slowly. No verdict ever gives up data that the server
did not name as bad. How failures add up over time, and what several methods have in common, is in `circuit`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from connector.clarify import ClarifyError, InvalidParams, NamedInFrame, NotAllowed, Refused, Retryable, TooLarge

FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 20.0
"""The longest back-off, in seconds, and so the longest that data waits after an outage."""
HOLD_DELAY: Final = 30.0
"""The longest between two tries while a person must act."""
EXCHANGE_SECONDS: Final = 720.0
"""Longer than one call of the client can take: a token and a request, and both once more after a 401, each with the
default time-outs of an exchange."""
RETRY_AFTER_BOUND: Final = 600.0
"""The longest that a server may ask us to wait."""
_LEAST_SHARE: Final = 0.1
"""Full jitter, but never quite at once: a tenth of the delay at least."""
_LEAST_SLOW_SHARE: Final = 0.25
_LEAST_HOLD_SHARE: Final = 0.5
_TOO_MUCH: Final = frozenset((408, 429, 503, 504, -32015))
"""Answers by which a server may say that there is too much to do."""
_PATIENT_SECONDS: Final = 1.0
"""No answer after longer than this is a time-out, ours or the server's; before, the connection broke."""


class Action(Enum):
    """What to do."""

    RETRY = auto()
    HOLD = auto()
    SET_ASIDE = auto()
    HALVE = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, after how many seconds, and with which of the keys that were sent."""

    action: Action
    delay: float = 0.0
    guilty: frozenset[str] = frozenset()
    named: NamedInFrame | None = None
    """What of a frame is to be set aside."""


def judge_frame(error: ClarifyError, keys: Collection[str], rows: int) -> Verdict:
    """The verdict on a failed insert of a frame with these series and so many rows; when to try again is the
    circuit's to say."""
    verdict = _verdict(error, keys, "data.series")
    if not isinstance(error, InvalidParams):
        return verdict
    if named := error.named_in_frame(keys, rows):
        return Verdict(Action.SET_ASIDE, named=named)
    return Verdict(Action.HALVE) if verdict.action is Action.SET_ASIDE else verdict


def judge_request(
    error: ClarifyError, attempt: int, keys: Collection[str], prefix: str, chance: Callable[[], float]
) -> Verdict:
    """The verdict on a failed request that carried `keys` below `prefix` (`data.series`, `signalsByInput`).

    `attempt` counts the failures of this request from 1; `chance` gives numbers from 0 to 1.
    """
    verdict = _verdict(error, keys, prefix)
    if verdict.action is Action.HOLD:
        return replace(verdict, delay=hold_delay(error, chance))
    if verdict.action is Action.RETRY:
        return replace(verdict, delay=retry_delay(error, attempt, chance))
    return verdict


def retry_delay(error: ClarifyError, attempt: int, chance: Callable[[], float]) -> float:
    """Seconds until the next try after `attempt` failures: exponential, with full jitter, or as the server asks."""
    most = min(LAST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 10))
    return max(asked_delay(error), _jittered(most, _LEAST_SHARE, chance))


def slow_delay(error: ClarifyError, chance: Callable[[], float]) -> float:
    """Seconds until the next probe of what has failed for long."""
    return max(asked_delay(error), _jittered(LAST_DELAY, _LEAST_SLOW_SHARE, chance))


def hold_delay(error: ClarifyError, chance: Callable[[], float]) -> float:
    """Seconds until the next try where a person must act."""
    return max(asked_delay(error), _jittered(HOLD_DELAY, _LEAST_HOLD_SHARE, chance))


def asked_delay(error: ClarifyError) -> float:
    """For how many seconds the server asks not to be asked, as far as we heed that."""
    asked = error.retry_after if isinstance(error, Retryable) and error.retry_after else 0.0
    return min(asked, RETRY_AFTER_BOUND)


def is_too_much(error: ClarifyError, seconds: float) -> bool:
    """Whether the request failed, after so many seconds, because there were too many. Clarify does not document how it
    says so."""
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
