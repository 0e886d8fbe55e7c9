"""The circuit breakers of one API: they decide when a method may be called. No I/O; the time is an argument.

                  a failure                     the 6th in a row, or one after 30 s of failing
    ┌─────────┐ back-off with ┌───────────────────────────────────────┐
    │ closed  │──────────────▶│ open: nothing is sent for 5 to 20 s   │◀─────────┐
    └─────────┘    jitter     │ (15 to 30 s where a person must act)  │          │ it failed
         ▲                    └───────────────────────────────────────┘          │
         │ an answer                      │ the time has come                    │
         │                    ┌───────────────────────────────────────┐          │
         └────────────────────│ half-open: one request, the probe     │──────────┘
                              └───────────────────────────────────────┘

Failures and answers. Failures count while no answer comes between them. A report of bad data is an answer, too: the API
works. If a person must act (`held`: the method is not allowed, or the request is refused), the circuit opens with the
first failure. An answer closes the circuit and resets everything.

Each method has its own circuit, because a method that is throttled or not allowed says nothing about the others.

The circuit of all methods. Some failures concern all methods: no answer at all, 5xx, 401, and a failing token endpoint.
They count for the circuit of the method and for the circuit of all methods. The circuit of all methods opens if one
method alone has failed for long and no other method had an answer meanwhile. While it is open, one probe at a time is
sent for all methods, and the first answer closes it.

Two rules keep a method from standing still because of the trouble of another one: a method that has not failed itself
may be the probe at once, and inserts (`first`) never wait behind other methods for the next probe.
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

from connector.clarify.errors import ClarifyError, NotAllowed, Refused, Retryable
from connector.delivery.policy import asked_delay, hold_delay, retry_delay, slow_delay

OPEN_FAILURES: Final = 6
"""A circuit opens with this number of failures in a row."""
OPEN_SECONDS: Final = 30.0
"""A circuit opens with a failure that comes at least this time (seconds) after the first failure in a row."""
_GIVE_WAY_SECONDS: Final = 1.0
"""Seconds by which other methods may send the probe later than inserts: so inserts have the first turn."""
LOOK_SECONDS: Final = 1.0
"""Seconds after which a waiting caller should ask again, since another method may have had an answer meanwhile."""
ALL: Final = "all"
"""The name of the circuit of all methods in logs and metrics."""
_TOKENS: Final = "oauth/token"

_log = structlog.get_logger(__name__)


class CircuitState(Enum):
    """The states of the diagram above."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """The status of one circuit, for metrics and readiness."""

    state: CircuitState
    held: bool
    """Whether a person must act."""
    failures: int
    """Failures in a row."""
    reason: str | None
    """The reason why the last request failed; None if it did not fail."""
    failing_seconds: float
    """Seconds since the first of these failures."""
    next_try_seconds: float
    """Seconds until a request may be sent."""


@dataclass(slots=True)
class _Failures:
    """Failures in a row, without an answer between them."""

    count: int = 0
    since: float = 0.0
    reason: str | None = None
    held: bool = False
    is_open: bool = False
    not_before: float = 0.0
    asked_until: float = 0.0
    """The time until which the server asked us to wait."""
    logged: bool = False
    """Whether the opening of the circuit was logged."""

    def add(self, error: ClarifyError, held: bool, in_a_row: int, now: float, chance: Callable[[], float]) -> None:
        """Add one failure; `in_a_row` is the number of failures of its method alone."""
        self.since = self.since if self.count else now
        self.count += 1
        self.reason = str(error)
        self.logged = self.logged and (self.held or not held)  # logged again when a person must act
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
    """The state that the circuits of one API share: the circuit of all methods."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.chance = chance
        self.lock = threading.RLock()
        self.failures = _Failures()
        self.by_method: Counter[str] = Counter()
        """Method → its part of `failures`: three methods with two failures each have not failed for long."""
        self.outages = 0
        """Number of times that an answer has closed the circuit of all methods, since the start."""
        self.probe: Circuit | None = None
        """The circuit whose request is under way while the circuit of all methods is open."""

    def close(self) -> _Failures:
        """Close the circuit of all methods, since the API has answered; returns the failures before the answer."""
        before, self.failures = self.failures, _Failures()
        self.by_method.clear()
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
        """Returns the circuit of a method, for one thread. With `first`, other methods let this one send the probe."""
        with self._shared.lock:
            return self._circuits.setdefault(method, Circuit(self._shared, method, first))

    def statuses(self, now: float) -> dict[str, CircuitStatus]:
        """Method → status of its circuit; the circuit of all methods comes first, under `ALL`."""
        shared = self._shared
        with shared.lock:
            failures, state, left = shared.failures, CircuitState.CLOSED, 0.0
            if failures.is_open:
                state = CircuitState.OPEN if shared.probe is None else CircuitState.HALF_OPEN
                left = max(0.0, failures.not_before - now)
            of_all = failures.status(state, now, left)
            return {ALL: of_all, **{method: found.status(now) for method, found in self._circuits.items()}}


class Circuit:
    """The circuit of one method: `left` and `begin` before a request, `answered`, `failed` or `not_sent` after it."""

    def __init__(self, shared: _Shared, method: str, first: bool) -> None:
        self._shared = shared
        self._method = method
        self._gives_way = 0.0 if first else _GIVE_WAY_SECONDS
        self._failures = _Failures()
        self._failed_in = 0
        """The value of `outages` when the last request failed."""
        self._concerns_all = False
        """Whether the last failure concerns all methods."""
        self._is_sent = False
        """Whether a request is under way."""
        self.is_probe = False
        """Whether the request under way is sent while a circuit is open: the request should be small."""

    def left(self, now: float) -> float:
        """Returns the seconds until a request may be sent.

        An answer to another method may shorten this time: the caller should ask again after `LOOK_SECONDS`.
        """
        shared = self._shared
        with shared.lock:
            not_before = self._failures.not_before
            if self._concerns_all and (shared.failures.is_open or shared.outages > self._failed_in):
                not_before = self._failures.asked_until  # everything else is decided by the circuit of all methods
            left = not_before - now
            if shared.failures.is_open:
                if shared.probe not in (None, self):
                    left = max(left, LOOK_SECONDS)
                elif self._failures.count:
                    left = max(left, shared.failures.not_before + self._gives_way - now)
            return max(0.0, left)

    def begin(self, now: float) -> bool:
        """Begin a request; returns whether a request may be sent now.

        After True, `answered`, `failed` or `not_sent` must follow.
        """
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
        """Record that the request was answered; a report of bad data is an answer, too."""
        with self._shared.lock:
            self._end()
            own, self._failures, self._concerns_all = self._failures, _Failures(), False
            of_all = self._shared.close()
        _log_closed(ALL, of_all, now)
        _log_closed(self._method, own, now)

    def failed(self, error: ClarifyError, now: float, *, held: bool | None = None) -> None:
        """Record that the request failed, and not because of its data.

        `held` says whether a person must act; with None, the type of the error decides.
        """
        held = isinstance(error, NotAllowed | Refused) if held is None else held
        shared, closed = self._shared, None
        with shared.lock:
            self._end()
            self._failed_in = shared.outages
            self._concerns_all = _concerns_all(error)
            self._failures.add(error, held, self._failures.count + 1, now, shared.chance)
            if self._concerns_all:
                shared.by_method[self._method] += 1
                shared.failures.add(error, held, shared.by_method[self._method], now, shared.chance)
            else:
                closed = shared.close()  # the API has answered
            of_all = shared.failures
            all_opened = _is_new(of_all)
            opened = not of_all.is_open and _is_new(self._failures)
        if closed is not None:
            _log_closed(ALL, closed, now)
        if all_opened:
            _log_open(ALL, of_all, now)
        if opened:
            _log_open(self._method, self._failures, now)

    def not_sent(self) -> None:
        """Record that the request was not sent after all."""
        with self._shared.lock:
            self._end()

    def status(self, now: float) -> CircuitStatus:
        """Returns the status of this method's circuit."""
        with self._shared.lock:
            state = CircuitState.CLOSED
            if self._failures.is_open or (self._concerns_all and self._shared.failures.is_open):
                state = CircuitState.HALF_OPEN if self._is_sent else CircuitState.OPEN
            return self._failures.status(state, now, self.left(now))

    @property
    def trouble(self) -> str | None:
        """The reason why the last request failed; None if it did not fail."""
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
    """Log an error that no request should raise, with its traceback; returns a `Retryable` error in its place.

    Such an error says nothing about the data, and may not come again. So the request is tried again, as after any
    failure.
    """
    _log.error(
        "exchange_bug",
        method=method,
        exc_info=error,
        effect="the data is kept, and the request is sent again after a back-off",
        remedy="please report it, with the traceback",
    )
    kind = type(error).__name__  # the text of the error may have anything in it; the traceback has the text
    return Retryable(f"A bug ({kind}): its traceback is in the log; please report it.", method=method)


def _is_new(failures: _Failures) -> bool:
    """Whether the circuit is open and this was not logged yet; after this call, it counts as logged."""
    if not failures.is_open or failures.logged:
        return False
    failures.logged = True
    return True


def _concerns_all(error: ClarifyError) -> bool:
    """Whether other methods must expect the same failure."""
    if error.method == _TOKENS or error.code == 401:
        return True
    no_answer = error.code is None and isinstance(error, Retryable)
    return no_answer or (error.code is not None and 500 <= error.code < 600)


def _log_open(method: str, failures: _Failures, now: float) -> None:
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
            effect="the data is kept; one small request is tried every 5 to 20 s, and sending goes on with an answer",
        )


def _log_closed(method: str, failures: _Failures, now: float) -> None:
    if not failures.logged:
        return
    _log.info(
        "circuit_closed",
        method=method,
        after_seconds=round(now - failures.since, 1),
        failures=failures.count,
        after=failures.reason,
    )
