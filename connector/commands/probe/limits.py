"""Questions about size and rates. These go over the documented limits, and stop at the first sign."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from connector.clarify.limits import RATE_UNSAID, RATES, REQUEST_BYTES, TOTAL_SECONDS
from connector.commands.probe.answers import READING, Answer, Question, unsettled
from connector.commands.probe.line import Request
from connector.commands.probe.session import DATA, INSERT, ITEMS, PUBLISH, SAVE, SELECT, ProbeError, Said

if TYPE_CHECKING:
    from connector.commands.probe.run import Probe

_SUPPORT: Final = "an answer of Clarify's support"
_LARGEST: Final = 2 * REQUEST_BYTES
_SMALLEST: Final = 4096
_STEPS: Final = 28
_AT_ONCE: Final = 6
_ENOUGH: Final = 3
"""The least number of delayed requests that show a rate."""
_AT_LEAST_WAITED: Final = 0.5
"""Seconds that a request surely waited at the server."""
_MOST_AT_ONCE: Final = 24
_LONGEST_QUEUE: Final = TOTAL_SECONDS + 5.0
"""Seconds of waiting that a burst shows. The documented queue is shorter."""
_SURELY_DELAYED: Final = 0.1
"""Seconds that an answer takes longer than three times the quickest, if the request waited at the server."""
_LEAST_GAP: Final = 0.06
"""Seconds between answers, below which new connections and the network explain the time that answers took."""
_LESS: Final = 0.9
"""A measured rate below this share of the documented rate is no inaccuracy."""
_TIMEOUT: Final = 20
_AFTER_SERVER: Final = 5


# -- size ---------------------------------------------------------------------------------------------------------


def _size(probe: Probe) -> Answer:
    try:
        low, refused = _search(probe)
    except _UnclearError as unclear:
        return unsettled(str(unclear), unclear.needs)
    follows: dict[str, object] = {"max_body_bytes": low}
    kind = "reset" if refused.reply.status is None else {413: "413", -32600: "-32600"}.get(refused.code or 0)
    if kind is not None:
        follows["oversize"] = kind
    connector = {"delivery.max_bytes": f"{low}B"} if low < REQUEST_BYTES else {}
    return Answer(f"at most {low:,} bytes; one byte more: {refused}", follows, connector, {"bytes": low})


class _UnclearError(Exception):
    """The size limit was not found; `needs` says what would settle the question."""

    def __init__(self, text: str, needs: str = "another attempt later") -> None:
        super().__init__(text)
        self.needs = needs


def _search(probe: Probe) -> tuple[int, Said]:
    """The largest size that is taken, in bytes, and what is said to one byte more. Raises _UnclearError.

    The search begins at the documented limit, and goes on by halves.
    """
    refused: dict[int, Said] = {}

    def taken(size: int) -> bool:
        said = probe.session.send(INSERT, _padded(probe, size))
        if said.result is not None:
            return True
        if said.is_passing or (said.reply.status is None and "Timeout" in said.reply.failure):
            raise _UnclearError(f"a request of {size} bytes ended with: {said}")
        refused[size] = said
        return False

    low, high = _SMALLEST, _LARGEST
    if not taken(REQUEST_BYTES):
        high = REQUEST_BYTES
    elif not taken(REQUEST_BYTES + 1):
        low, high = REQUEST_BYTES, REQUEST_BYTES + 1
    elif taken(_LARGEST):
        text = f"a request of {_LARGEST:,} bytes is taken; larger requests were not tried"
        raise _UnclearError(text, "a search beyond this size")
    else:
        low = REQUEST_BYTES + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(middle) else (low, middle)
    if low == _SMALLEST:
        raise _UnclearError(f"no request of more than {low} bytes was taken: {refused[high]}")
    # A network, too, may lose a request: then the answers to the same sizes differ.
    if refused[high].reply.status is None and (taken(high) or not taken(low)):
        raise _UnclearError("a request was not answered once, and answered when it was sent again")
    return low, refused[high]


def _padded(probe: Probe, size: int) -> Request:
    """An insert with blanks before its last bracket, so that the body has `size` bytes."""
    body = probe.session.request(INSERT, probe.one_sample("size")).body
    return probe.session.raw(body[:-1] + b" " * (size - len(body)) + body[-1:])


# -- rates --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """What `sent` calls at once met.

    `per_second` and `at_once`, the number of calls that did not wait, are known only if calls were `delayed`. `said` is
    the first reply that was no success, which may come after a delay, too.
    """

    kind: Literal["delayed", "refused", "free", "forbidden", "unclear"]
    sent: int
    per_second: float | None = None
    at_once: int = 0
    said: Said | None = None

    def __str__(self) -> str:
        match self.kind:
            case "delayed":
                burst = f" after {self.at_once} at once" if self.at_once > 1 else ""
                return f"{self.per_second:g} a second{burst}, more are delayed"
            case "free":
                return f"{self.sent} at once were not delayed"
            case "refused":
                return f"too many are refused: {self.said}"
            case _:
                return str(self.said)


def _pace(said: Sequence[Said]) -> Pace:
    bad = next((one for one in said if one.result is None), None)
    good = [one for one in said if one.result is not None]
    if bad is not None and (len(good) < _ENOUGH or not _is_late(bad)):
        kind: Literal["forbidden", "refused", "unclear"] = "refused" if bad.code == 429 or _is_late(bad) else "unclear"
        return Pace("forbidden" if bad.is_forbidden else kind, len(said), said=bad)
    ends = sorted(one.reply.ended for one in good)
    quickest = min(one.reply.seconds for one in good)
    # The middle of the later gaps: a burst that is let through at once makes the first gaps short.
    gap = median(after - before for before, after in pairwise(ends[len(ends) // 3 :]))
    if max(one.reply.seconds for one in good) < 3 * quickest + _SURELY_DELAYED or gap < _LEAST_GAP:
        return Pace("free" if bad is None else "unclear", len(said), said=bad)
    at_once = sum(end < ends[0] + gap / 2 for end in ends)
    return Pace("delayed", len(said), float(f"{1 / gap:.2g}"), at_once, bad)


def _is_late(said: Said) -> bool:
    """Whether a request ended with a time-out of the server, in any of the forms that are possible."""
    return said.reply.status in (503, 504, None) or said.code == -32015


def _calls(probe: Probe) -> dict[str, Callable[[], object]]:
    """Method → the parameters of a harmless call."""
    integration, key = probe.session.integration, probe.input("rate")
    signal = probe.reading.signals.get(key, "0" * 20)
    item = probe.reading.items.get(key, "0" * 20)
    one_item = {"filter": {"id": item}, "limit": 1}
    times = {"$gte": probe.time("0"), "$lt": probe.time("60")}
    view = {"name": key, "visible": True}
    return {
        INSERT: lambda: probe.one_sample("rate"),
        SAVE: lambda: {"integration": integration, "signalsByInput": {key: {"name": key}}},
        SELECT: lambda: {"integration": integration, "query": {"filter": {"input": key}, "limit": 1}},
        PUBLISH: lambda: {"integration": integration, "itemsBySignal": {signal: view}},
        ITEMS: lambda: {"query": one_item},
        DATA: lambda: {"query": one_item, "data": {"filter": {"times": times}}},
    }


def _rates(probe: Probe) -> Answer:
    session = probe.session
    seen: dict[str, Pace] = {}
    for method, params in _calls(probe).items():
        if method == PUBLISH and probe.input("rate") not in probe.reading.signals:
            continue
        numbers = (_AT_ONCE, _MOST_AT_ONCE) if method == INSERT else (_AT_ONCE,)
        for number in numbers:  # many inserts only if a few were not delayed
            session.rest(method)
            seen[method] = _pace(session.burst([session.request(method, params()) for _ in range(number)]))
            if seen[method].kind != "free":
                break
    inserts = probe.inserts = seen[INSERT]
    text = "; ".join(f"{method}: {pace}" for method, pace in seen.items())
    detail = {
        method: {"kind": pace.kind, "perSecond": pace.per_second, "atOnce": pace.at_once}
        for method, pace in seen.items()
    }
    sandbox: dict[str, object] = {}
    needs = ""
    if inserts.kind == "free":
        sandbox["rate_limiter"] = "off"
    elif inserts.kind == "delayed":
        sandbox |= {"rate_limiter": "throttle", "requests_per_second": inserts.per_second}
    elif inserts.said is not None and inserts.said.code == 429:
        header = "retry-after" in inserts.said.reply.headers
        sandbox |= {"rate_limiter": "throttle", "too_many_requests": "retry-after" if header else "plain"}
        session.rest(INSERT)
        if all(session.call(INSERT, probe.one_sample("rate")).result is not None for _ in range(2)):
            sandbox["requests_per_second"] = RATES[INSERT]
            text += "; the documented rate of inserts is kept without a refusal"
    else:
        sandbox |= {"rate_limiter": "throttle"} if inserts.kind == "refused" else {}
        needs = _SUPPORT
    if any(pace.kind == "forbidden" for pace in seen.values()) or PUBLISH not in seen:
        needs = needs or READING
    settings = {INSERT: "delivery.requests_per_second", SAVE: "delivery.metadata_requests_per_second"}
    connector = {
        setting: floor(100 * pace.per_second) / 100
        for method, setting in settings.items()
        if (pace := seen[method]).per_second is not None and pace.per_second < _LESS * RATES[method]
    }
    return Answer(text, sandbox, connector, detail, needs)


def _scope(probe: Probe) -> Answer:
    session, calls = probe.session, _calls(probe)
    requests = [session.request(method, calls[method]()) for method in (INSERT, INSERT, INSERT, SAVE)]
    return _shared(probe, requests, "methods", "a save")


def _integrations(probe: Probe) -> Answer:
    second = probe.second
    if second is None:
        return unsettled("one integration cannot show it", "the credentials of another integration (--second)")
    try:
        second.log_in()
    except ProbeError as error:
        return unsettled(f"the second integration: {error}", "credentials of another integration that are valid")
    ours = [probe.session.request(INSERT, probe.one_sample("rate")) for _ in range(3)]
    theirs = second.request(INSERT, {**probe.one_sample("rate"), "integration": second.integration})
    answer = _shared(probe, [*ours, theirs], "integrations", "an insert of the other integration")
    return replace(answer, text=second.hide(answer.text))


def _shared(probe: Probe, requests: Sequence[Request], what: str, other: str) -> Answer:
    """Whether the last of four requests waits behind the three inserts before it."""
    if probe.inserts is None or probe.inserts.kind != "delayed" or probe.inserts.at_once > 1:
        return unsettled("three inserts at once are not delayed, so nothing shows what shares a rate",
                         "a rate limit that delays, without a burst")  # fmt: skip
    probe.session.rest(INSERT, SAVE)
    said = probe.session.burst(requests)
    bad = next((one for one in said if one.result is None), None)
    if bad is not None:
        return unsettled(f"the burst ended with: {bad}", "another attempt later")
    waited, took = said[2].reply.seconds, said[3].reply.seconds
    shares = took > waited / 2
    text = f"{what} {'SHARE a rate' if shares else 'have rates of their own'}"
    return Answer(f"{text}: an insert took {waited:.1f} s, {other} {took:.1f} s", detail={"shared": shares})


def _throttling(probe: Probe) -> Answer:
    inserts = probe.inserts
    if inserts is None:
        return unsettled("the rate of inserts is not known", "the question `rates`")
    if inserts.kind == "free":
        return unsettled("inserts were not delayed, so none timed out", "a rate limit that delays")
    if inserts.said is not None:
        return _refusal(inserts.said, 0.0)
    number = min(_MOST_AT_ONCE, ceil(_LONGEST_QUEUE * (inserts.per_second or RATE_UNSAID)) + 2)
    session = probe.session
    session.rest(INSERT)
    said = session.burst([session.request(INSERT, probe.one_sample("rate")) for _ in range(number)])
    session.rest(INSERT)
    refused = next((one for one in said if one.result is None), None)
    longest = max((one.reply.seconds for one in said if one.result is not None), default=0.0)
    if refused is None:
        text = f"{number} inserts at once were all carried out; the last waited {longest:.1f} s"
        return unsettled(text, f"a burst of more than {number} requests")
    return _refusal(refused, longest)


def _refusal(refused: Said, longest: float) -> Answer:
    """What a refused request shows; `longest` is the longest wait of an accepted request of the burst, in seconds."""
    waited = round(refused.reply.seconds, 1)
    detail = {"refusedAfter": waited, "longestWait": round(longest, 1), "headers": sorted(refused.reply.headers)}
    if refused.code == 429:
        return Answer(f"requests over the rate are refused after {waited:g} s: {refused}", detail=detail)
    if not _is_late(refused) or "Timeout" in refused.reply.failure:
        return unsettled(f"the burst ended with: {refused}", "another attempt later")
    if waited < max(_AT_LEAST_WAITED, longest / 2):
        text = f"a request over the rate ended after {waited:g} s, and others waited {longest:.1f} s: {refused}"
        return Answer(text, detail=detail, needs="" if refused.reply.status else "another attempt later")
    code = "drop" if refused.reply.status is None else str(refused.code)
    sandbox = {"too_many_requests": "never", "timeout_answer": code, "queue_seconds": waited}
    if waited > TOTAL_SECONDS:
        sandbox["total_seconds"] = waited
    connector = {"clarify.timeout": f"{ceil(waited) + _AFTER_SERVER}s"} if waited + _AFTER_SERVER > _TIMEOUT else {}
    return Answer(f"a request over the rate is refused after {waited:g} s: {refused}", sandbox, connector, detail)


LIMITS: Final = (
    Question("size", "How many bytes may a request have?", "inserts that are filled with blanks, searched by halves",
             _size, _STEPS, ("size",), _STEPS * _LARGEST),
    Question("rates", "How many calls a second does each method take?", f"{_AT_ONCE} calls of each method at once",
             _rates, 6 * _AT_ONCE + _MOST_AT_ONCE + 10, ("rate",)),
    Question("scope", "Do methods share a rate?", "three inserts and a save at once", _scope, 4),
    Question("integrations", "Do integrations share a rate?",
             "with --second: three inserts, and an insert of the other integration, at once", _integrations, 4),
    Question("throttling", "What does a request get that waited too long?",
             f"inserts at once, more than the queue takes, at most {_MOST_AT_ONCE}", _throttling,
             _MOST_AT_ONCE),
)  # fmt: skip
