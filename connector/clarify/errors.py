"""The errors of the Clarify client, sorted by the remedy.

    ClarifyError
    ├── Retryable         keep the data, back off, send again
    │                       time-outs, connection errors, 5xx, 408, 429, RPC -32015, -32603, -32000, -32009,
    │                       -32021, answers that make no sense, and everything that is not listed here
    ├── InvalidParams     set the named series or inputs aside, send the rest
    │                       RPC -32602
    ├── TooLarge          send less data, or ask for less data
    │                       413, requests over the limit, which are not sent at all, answers of over 64 MiB
    ├── NotAllowed        keep the data, alarm, try again slowly: a person must grant access
    │                       401, 403, RPC -32003, a refusing token endpoint
    ├── Refused           keep the data, alarm, try again slowly: a person must mend set-up or program
    │                       400, 404, 405, 415, 422 and other 4xx, 301, 308, RPC -32700, -32600, -32601,
    │                       -32001, -32002
    └── CredentialsError  stop: the credentials cannot be used

Only InvalidParams and TooLarge say something about the data. After every other error the same request may succeed
later, so the caller must keep the data.

ArgumentError is outside the tree: a value breaks a rule, and nothing was sent. An ArgumentError is a ValueError too. A
model that is made of wrong fields raises pydantic's ValidationError, which is a ValueError, but no ArgumentError.
The messages hold no secret. No error of httpx is chained to an error of the client, because httpx's errors hold the
request.

The name of an error is the remedy or the case. An "Error" at the end would only make the names longer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from connector import ConnectorError

_INDEX: Final = re.compile(r"\[(\d{1,9})\]|\.(\d{1,9})(?![^.\[])")
"""An element of an array, after the name of the array in a path: `[3]` or `.3`."""


class ArgumentError(ConnectorError, ValueError):
    """An argument of the client breaks a rule; the text names the argument and the rule. Nothing was sent.

    The class is a ValueError too, because Clarify's own Python client raises ValueError.
    """


class ClarifyError(ConnectorError):
    """A call of Clarify failed. All errors of calls are subclasses.

    `code` is the RPC error code (negative) or the HTTP status (100 to 599); None if there was no answer.
    `method` is the RPC method, or "oauth/token". `trace` is the trace ID for Clarify's support; None if unknown.
    `data` has the details that the server gave, without secrets; None without details. `said` is the message of the
    server, without secrets; None if the message is our own.
    """

    data: object = None
    said: str | None = None

    def __init__(
        self, message: str, *, code: int | None = None, method: str | None = None, trace: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.method = method
        self.trace = trace

    def __str__(self) -> str:
        method = f"{self.method}: " if self.method else ""
        trace = f" [trace {self.trace}]" if self.trace else ""
        return f"{method}{self.message}{trace}"


class Retryable(ClarifyError):  # noqa: N818
    """Nothing is known to be wrong with the request: send the request again later.

    `retry_after` is the number of seconds that the server asks to wait; None if the server does not say.
    `outcome_unknown` is True if Clarify may have carried out the request although no valid answer came.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        method: str | None = None,
        trace: str | None = None,
        retry_after: float | None = None,
        outcome_unknown: bool = False,
    ) -> None:
        super().__init__(message, code=code, method=method, trace=trace)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown


@dataclass(frozen=True, slots=True)
class Problem:
    """A complaint about a parameter: the path relative to `params`, and the message."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class NamedInFrame:
    """The parts of a data frame that problems name: whole series, single cells of a series, whole rows."""

    series: frozenset[str] = frozenset()
    cells: frozenset[tuple[str, int]] = frozenset()
    """(key of the series, index)."""
    rows: frozenset[int] = frozenset()
    """Indexes of times."""

    def __bool__(self) -> bool:
        return bool(self.series or self.cells or self.rows)


class InvalidParams(ClarifyError):  # noqa: N818
    """Clarify found parameters invalid and did not carry out the request.

    `problems` is empty if the server named nothing. Problems may name something other than data, such as
    `integration`. In both cases `guilty` finds no key, and the data must not be blamed.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        method: str | None = None,
        trace: str | None = None,
        problems: Iterable[Problem] = (),
    ) -> None:
        super().__init__(message, code=code, method=method, trace=trace)
        self.problems = list(problems)

    def guilty(self, prefix: str, keys: Iterable[str]) -> set[str]:
        """The keys that a problem names, out of the `keys` that were sent below `prefix`.

        A key may contain dots. So the longest matching key of each path counts. A key matches if the path ends after
        the key, or continues with a dot or a bracket.
        """
        sent = frozenset(keys)
        start = prefix + "."
        found = (_longest(p.path[len(start) :], sent) for p in self.problems if p.path.startswith(start))
        return {key for key in found if key is not None}

    def named_in_frame(self, keys: Collection[str], rows: int) -> NamedInFrame:
        """The parts of a frame that the problems name exactly. The frame has the series `keys` and `rows` rows.

        A path that may mean two parts is left out: `data.series.a.3`, if there are a series `a.3` and a cell 3 of a
        series `a`. An index that the frame does not have is left out too.
        """
        sent = frozenset(keys)
        series: set[str] = set()
        cells: set[tuple[str, int]] = set()
        times: set[int] = set()
        for problem in self.problems:
            if problem.path.startswith("data.times"):
                index = _index(problem.path.removeprefix("data.times"))
                if index is not None and index < rows:
                    times.add(index)
            elif problem.path.startswith("data.series."):
                rest = problem.path.removeprefix("data.series.")
                key = _longest(rest, sent)
                if key is None:
                    continue
                index = _index(rest[len(key) :])
                if index is None and not _is_cell_too(key, rest, sent, rows):
                    series.add(key)
                elif index is not None and index < rows:
                    cells.add((key, index))
        return NamedInFrame(
            frozenset(series), frozenset(cell for cell in cells if cell[0] not in series), frozenset(times)
        )

    def guilty_series(self, keys: Iterable[str]) -> set[str]:
        """The keys that a problem names, out of the series `keys` of an insert."""
        return self.guilty("data.series", keys)

    def guilty_inputs(self, keys: Iterable[str]) -> set[str]:
        """The keys that a problem names, out of the input `keys` of a saveSignals."""
        sent = frozenset(keys)
        return self.guilty("signalsByInput", sent) | self.guilty("inputs", sent)


def _longest(rest: str, keys: frozenset[str]) -> str | None:
    """The longest key that equals `rest`, or the part of `rest` before a dot or a bracket; None without a match."""
    end = len(rest)
    while end > 0:
        if rest[:end] in keys:
            return rest[:end]
        end = max(rest.rfind(".", 0, end), rest.rfind("[", 0, end))
    return None


def _index(rest: str) -> int | None:
    """The index of the element that `rest` begins with; None without an index."""
    found = _INDEX.match(rest)
    return int(found[1] or found[2]) if found else None


def _is_cell_too(key: str, rest: str, keys: frozenset[str], rows: int) -> bool:
    """Whether a path that is the name of a series may also mean a cell of another series."""
    other, _, last = key.rpartition(".")
    return rest == key and other in keys and last.isascii() and last.isdigit() and int(last) < rows


class TooLarge(ClarifyError):  # noqa: N818
    """The request, or its answer, is too large: split the request."""


class NotAllowed(ClarifyError):  # noqa: N818
    """The credentials do not, or no longer, permit this call. The error says nothing about the data."""


class Refused(ClarifyError):  # noqa: N818
    """The server refuses the request: a wrong address, a wrong API version, or a fault of this program."""


class CredentialsError(ClarifyError):
    """The credentials cannot be used. The text names the source, the field and the remedy."""
