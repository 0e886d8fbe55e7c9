"""When a method may be called: the circuit breakers of one API. No I/O; the time is an argument.

                  a failure                     the 6th in a row, or one after 30 s of failing
    ┌─────────┐ back-off with ┌───────────────────────────────────────┐
    │ closed  │──────────────▶│ open: nothing is sent for 5 to 20 s   │◀─────────┐
    └─────────┘    jitter     │ (15 to 30 s where a person must act)  │          │ it failed
         ▲                    └───────────────────────────────────────┘          │
         │ an answer                      │ the time has come                    │
         │                    ┌───────────────────────────────────────┐          │
         └────────────────────│ half-open: one request, the probe     │──────────┘
                              └───────────────────────────────────────┘

What counts is a row of failures that no answer breaks. An answer is also one that finds the data bad: the API works.
Where a person must act (`held`: not allowed, refused), the circuit opens with the first failure. After an answer
everything is as if nothing had happened.

Each method has a circuit of its own, since being throttled or not allowed is the method's own trouble. No answer at
all, 5xx, 401 and a token endpoint that fails are everybody's: they count for the circuit of all methods, too, which
opens when one method alone has failed for long and no other had an answer meanwhile. While it is open, one probe at a
time is sent for all of them, and the first answer lets all go on. So that no method stands still for what only another
one suffers, a method that has not failed itself may be the probe at once; and inserts (`first`) are never after others
in a queue for the next probe.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from connector.clarify import ClarifyError, NotAllowed, Refused, Retryable
from connector.delivery.policy import asked_delay, hold_delay, retry_delay, slow_delay

OPEN_FAILURES: Final = 6
OPEN_SECONDS: Final = 30.0
_GIVE_WAY_SECONDS: Final = 1.0
"""How much later than inserts others take their turn as the probe."""
LOOK_SECONDS: Final = 1.0
"""How often to look, in a wait, whether others were answered meanwhile."""
ALL: Final = "all"
"""What the circuit of all methods is called in logs and metrics."""
_TOKENS: Final = "oauth/token"

_log = structlog.get_logger(__name__)


class CircuitState(Enum):
    """See above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """How one circuit is, for metrics and readiness."""

    state: CircuitState
    held: bool
    """A person must act."""
    failures: int
    """In a row."""
    reason: str | None
    """Why the last one failed; None if it did not."""
    failing_seconds: float
    """Since the first of them."""
    next_try_seconds: float
    """Until a request may be sent."""


@dataclass(slots=True)
class _Failures:
    """A row of failures."""

    count: int = 0
    since: float = 0.0
    reason: str | None = None
    held: bool = False
    is_open: bool = False
    not_before: float = 0.0
    asked_until: float = 0.0
    """Until when the server asked us to wait."""
    said: bool = False
    """Whether people were told that it opened."""

    def add(self, error: ClarifyError, held: bool, in_a_row: int, now: float, chance: Callable[[], float]) -> None:
        """One more; `in_a_row` counts those of its method alone."""
        self.since = self.since if self.count else now
        self.count += 1
        self.reason = str(error)
        self.said = self.said and (self.held or not held)  # that a person must act is news
        self.held = held
        self.is_open |= held or in_a_row >= OPEN_FAILURES or now - self.since >= OPEN_SECONDS
        if held:
            delay = hold_delay(error, chance)
        elif self.is_open:
            delay = slow_delay(error, chance)
        else:
            delay = retry_delay(error, self.count, chance)
        self.asked_until = max(self.asked_until, now + asked_delay(error))
        self.not_before = max(self.asked_until, now + delay)

    def status(self, state: CircuitState, now: float, next_try: float) -> CircuitStatus:
        return CircuitStatus(
            state, self.held, self.count, self.reason, max(0.0, now - self.since) if self.count else 0.0, next_try
        )


class _Shared:
    """What the circuits of one API have in common."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.chance = chance
        self.lock = threading.RLock()
        self.failures = _Failures()
        self.rows: Counter[str] = Counter()
        """Method → how many of them are its: three methods that fail twice each have not failed for long."""
        self.outages = 0
        """How often an answer has closed the circuit of all methods."""
        self.probe: Circuit | None = None
        """Who has a request under way while that circuit is open."""

    def close(self) -> _Failures:
        """The API has answered; what there was before."""
        before, self.failures = self.failures, _Failures()
        self.rows.clear()
        if before.is_open:
            self.outages += 1
            self.probe = None
        return before


class Circuits:
    """The circuits of one API. Safe for several threads."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._shared = _Shared(chance)
        self._circuits: dict[str, Circuit] = {}

    def of(self, method: str, *, first: bool = False) -> Circuit:
        """The circuit of this method, for one thread; `first` if others have to give way to it."""
        with self._shared.lock:
            return self._circuits.setdefault(method, Circuit(self._shared, method, first))

    def statuses(self, now: float) -> dict[str, CircuitStatus]:
        """The circuit of all methods, under `ALL`, then each method's own."""
        shared = self._shared
        with shared.lock:
            failures, state, left = shared.failures, CircuitState.CLOSED, 0.0
            if failures.is_open:
                state = CircuitState.OPEN if shared.probe is None else CircuitState.HALF_OPEN
                left = max(0.0, failures.not_before - now)
            everybody = failures.status(state, now, left)
            return {ALL: everybody, **{method: found.status(now) for method, found in self._circuits.items()}}


class Circuit:
    """The circuit of one method: ask `left`, then `begin`, and say how it went."""

    def __init__(self, shared: _Shared, method: str, first: bool) -> None:
        self._shared = shared
        self._method = method
        self._gives_way = 0.0 if first else _GIVE_WAY_SECONDS
        self._failures = _Failures()
        self._failed_in = 0
        """After how many outages the last request failed."""
        self._is_everybodys = False
        """Whether the last failure was."""
        self._is_sent = False
        self.is_probe = False
        """Whether the request that was begun is sent while the circuit is open: best a small one."""

    def left(self, now: float) -> float:
        """Seconds until a request may be sent: ask again then, or sooner, since an answer to others may come."""
        shared = self._shared
        with shared.lock:
            not_before = self._failures.not_before
            if self._is_everybodys and (shared.failures.is_open or shared.outages > self._failed_in):
                not_before = self._failures.asked_until  # all else depends on all of them
            left = not_before - now
            if shared.failures.is_open:
                if shared.probe not in (None, self):
                    left = max(left, LOOK_SECONDS)
                elif self._failures.count:
                    left = max(left, shared.failures.not_before + self._gives_way - now)
            return max(0.0, left)

    def begin(self, now: float) -> bool:
        """Whether a request may be sent now; if so, `answered`, `failed` or `not_sent` has to follow."""
        shared = self._shared
        with shared.lock:
            if self.left(now) > 0:
                return False
            if shared.failures.is_open:
                shared.probe = self
            self.is_probe = shared.failures.is_open or self._failures.is_open
            self._is_sent = True
            return True

    def answered(self, now: float) -> None:
        """There was an answer, be it that the data is bad."""
        with self._shared.lock:
            self._end()
            own, self._failures, self._is_everybodys = self._failures, _Failures(), False
            everybody = self._shared.close()
        _say_closed(ALL, everybody, now)
        _say_closed(self._method, own, now)

    def failed(self, error: ClarifyError, now: float, *, held: bool | None = None) -> None:
        """It failed, and not because of its data. `held` says whether a person must act, where the error does not."""
        held = isinstance(error, NotAllowed | Refused) if held is None else held
        shared, worked = self._shared, None
        with shared.lock:
            self._end()
            self._failed_in = shared.outages
            self._is_everybodys = _is_everybodys(error)
            self._failures.add(error, held, self._failures.count + 1, now, shared.chance)
            if self._is_everybodys:
                shared.rows[self._method] += 1
                shared.failures.add(error, held, shared.rows[self._method], now, shared.chance)
            else:
                worked = shared.close()
            everybody = shared.failures
            is_news_of_all = _is_news(everybody)
            is_news = not everybody.is_open and _is_news(self._failures)
        if worked is not None:
            _say_closed(ALL, worked, now)
        if is_news_of_all:
            _say_open(ALL, everybody, now)
        if is_news:
            _say_open(self._method, self._failures, now)

    def not_sent(self) -> None:
        """The request that was begun was not sent after all."""
        with self._shared.lock:
            self._end()

    def status(self, now: float) -> CircuitStatus:
        """How this method fares."""
        with self._shared.lock:
            state = CircuitState.CLOSED
            if self._failures.is_open or (self._is_everybodys and self._shared.failures.is_open):
                state = CircuitState.HALF_OPEN if self._is_sent else CircuitState.OPEN
            return self._failures.status(state, now, self.left(now))

    @property
    def trouble(self) -> str | None:
        """Why the last request failed; None if it did not."""
        return self._failures.reason

    @property
    def held(self) -> bool:
        """Whether a person must act."""
        return self._failures.held

    def _end(self) -> None:
        self._is_sent = self.is_probe = False
        if self._shared.probe is self:
            self._shared.probe = None


def unforeseen(error: Exception, method: str) -> Retryable:
    """What stands for an error that no exchange should raise; its traceback goes into the log. Such an error says
    nothing about the data, and may be over with the next answer: the request is tried again as after any failure."""
    _log.error(
        "exchange_bug",
        method=method,
        exc_info=error,
        effect="the data is kept, and the request is sent again after a back-off",
        remedy="please report it, with the traceback",
    )
    kind = type(error).__name__  # without its text, which may be anything; the traceback has it
    return Retryable(f"A bug ({kind}): its traceback is in the log; please report it.", method=method)


def _is_news(failures: _Failures) -> bool:
    if not failures.is_open or failures.said:
        return False
    failures.said = True
    return True


def _is_everybodys(error: ClarifyError) -> bool:
    """Whether other methods must expect the same."""
    if error.method == _TOKENS or error.code == 401:
        return True
    no_answer = error.code is None and isinstance(error, Retryable)
    return no_answer or (error.code is not None and 500 <= error.code < 600)


def _say_open(method: str, failures: _Failures, now: float) -> None:
    said = {
        "method": method,
        "reason": failures.reason,
        "failures": failures.count,
        "failing_for_seconds": round(now - failures.since, 1),
        "next_try_in_seconds": round(failures.not_before - now, 1),
    }
    if failures.held:
        _log.error(
            "circuit_open",
            **said,
            effect="Clarify does not let us in: the data is kept, and one request is tried every 15 to 30 s",
            remedy="a person must act: see the reason",
        )
    else:
        _log.warning(
            "circuit_open",
            **said,
            effect="the data is kept; one small request is tried every 5 to 20 s, and all goes on when it is answered",
        )


def _say_closed(method: str, failures: _Failures, now: float) -> None:
    if not failures.said:
        return
    _log.info(
        "circuit_closed",
        method=method,
        after_seconds=round(now - failures.since, 1),
        failures=failures.count,
        after=failures.reason,
    )
