"""Faults on request: rules that tests send to a sandbox that was started with --faults.

A rule matches requests by their method. The rule applies to the next `times` matching requests; without `times`, it
applies until all rules are cleared. Each request takes only the first matching rule in the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

TOKEN = "token"  # noqa: S105 - the name of the token endpoint in rules and statistics


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field("*", min_length=1, description="insert, save, token, a method's full name, or a pattern")
    times: int | None = Field(None, ge=1, description="how many requests; null: until cleared")


class Latency(_Rule):
    """Wait, then handle the request as usual; the wait does not count towards the time-outs."""

    kind: Literal["latency"]
    seconds: float = Field(ge=0, le=3600)


class _Refusal(_Rule):
    carried_out: bool = Field(False, description="do what the request asks for before the error is answered")


class StatusFault(_Refusal):
    """Answer with an HTTP status, and with a Retry-After header if `retry_after` (in seconds) is given."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after: int | None = Field(None, ge=0)


class RpcErrorFault(_Refusal):
    """Answer with an RPC error; this rule never matches a token request."""

    kind: Literal["rpc_error"]
    code: int
    message: str | None = None
    data: dict[str, object] | None = None


class BadValue(_Rule):
    """Refuse inserts that hold `value` with -32602; other inserts are carried out as usual.

    `names` says what the error names: the series, the cell (`…x[3]` or `…x.3`), the row, or nothing.
    """

    kind: Literal["bad_value"]
    value: float
    names: Literal["series", "cell", "cell_dot", "row", "nothing"] = "series"


class Timeout(_Rule):
    """Keep the connection open for `seconds` without an answer, store nothing, then close the connection."""

    kind: Literal["timeout"]
    seconds: float = Field(ge=0, le=3600)


class Cut(_Rule):
    """Close the connection at once; nothing is stored, and there is no answer."""

    kind: Literal["cut"]


class AnswerLost(_Rule):
    """Carry out the request, then close the connection without an answer."""

    kind: Literal["answer_lost"]


class HalfAnswer(_Rule):
    """Carry out the request, send half of the answer's body, then close the connection."""

    kind: Literal["half_answer"]


class RevokeTokens(_Rule):
    """Make all tokens that were issued so far invalid, and answer with HTTP 401."""

    kind: Literal["revoke_tokens"]


Fault = Annotated[
    Latency | StatusFault | RpcErrorFault | BadValue | Timeout | Cut | AnswerLost | HalfAnswer | RevokeTokens,
    Field(discriminator="kind"),
]
FAULT_RULES: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


@dataclass(slots=True)
class _Planned:
    fault: Fault
    left: int | None


class FaultPlan:
    """The rules that are still in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []

    def add(self, faults: Sequence[Fault]) -> None:
        """Put rules at the end of the list."""
        self._planned.extend(_Planned(fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Forget all rules."""
        self._planned.clear()

    def take(self, names: Iterable[str]) -> Fault | None:
        """The fault of the first rule that matches a request; None if no rule matches.

        `names` are the names of the request's method. The request counts towards the `times` of the rule.
        """
        lowered = [name.lower() for name in names]
        for planned in self._planned:
            if isinstance(planned.fault, RpcErrorFault) and TOKEN in lowered:
                continue
            if any(fnmatchcase(name, planned.fault.method.lower()) for name in lowered):
                if planned.left is not None:
                    planned.left -= 1
                    if planned.left == 0:
                        self._planned.remove(planned)
                return planned.fault
        return None
