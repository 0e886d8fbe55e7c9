"""What to do after a request failed: a pure function from the failure to a verdict.

| failure                                            | verdict                                          |
|----------------------------------------------------|--------------------------------------------------|
| time-out, connection, 5xx, 408, 429, -32015, other | send the same again after a back-off with jitter |
| -32602 that names series or values                 | set exactly those aside, send the rest           |
| -32602 that names nothing, 413                     | halve                                            |
| -32602 that names something else than data         | hold: a person must act, the data is not blamed  |
| 401, 403, -32003, refused requests                 | hold                                             |

Holding keeps the data, goes unready and goes on trying slowly. No verdict ever gives up data that the server
did not name as bad.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from connector.clarify import ClarifyError, InvalidParams, NamedInFrame, NotAllowed, Refused, Retryable, TooLarge

FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 30.0
HOLD_DELAY: Final = 30.0
_LEAST_SHARE: Final = 0.1
"""Full jitter, but never quite at once: a tenth of the delay at least."""


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


def judge_frame(
    error: ClarifyError, attempt: int, keys: Collection[str], rows: int, chance: Callable[[], float]
) -> Verdict:
    """The verdict on a failed insert of a frame with these series and so many rows; otherwise as `judge`."""
    verdict = judge(error, attempt, keys, "data.series", chance)
    if not isinstance(error, InvalidParams):
        return verdict
    if named := error.named_in_frame(keys, rows):
        return Verdict(Action.SET_ASIDE, named=named)
    return Verdict(Action.HALVE) if verdict.action is Action.SET_ASIDE else verdict


def judge(
    error: ClarifyError, attempt: int, keys: Collection[str], prefix: str, chance: Callable[[], float]
) -> Verdict:
    """The verdict on a failed request that carried `keys` below `prefix` (`data.series`, `signalsByInput`).

    `attempt` counts the failures of this request from 1; `chance` gives numbers from 0 to 1.
    """
    if isinstance(error, InvalidParams):
        guilty = error.guilty(prefix, keys)
        if guilty:
            return Verdict(Action.SET_ASIDE, guilty=frozenset(guilty))
        root = prefix.partition(".")[0]
        if error.problems and not any(problem.path.startswith(root) for problem in error.problems):
            return Verdict(Action.HOLD, _jittered(HOLD_DELAY, chance))
        return Verdict(Action.HALVE)
    if isinstance(error, TooLarge):
        return Verdict(Action.HALVE)
    if isinstance(error, NotAllowed | Refused):
        return Verdict(Action.HOLD, _jittered(HOLD_DELAY, chance))
    delay = min(LAST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 10))
    jittered = delay * (_LEAST_SHARE + (1 - _LEAST_SHARE) * chance())
    asked = error.retry_after if isinstance(error, Retryable) and error.retry_after else 0.0
    return Verdict(Action.RETRY, max(jittered, min(asked, 600.0)))


def _jittered(delay: float, chance: Callable[[], float]) -> float:
    return delay * (0.75 + 0.5 * chance())
