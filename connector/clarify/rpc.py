"""JSON-RPC 2.0 in Clarify's form, without I/O: encodes a call, and reads the result or the error of an answer.

One HTTP request has one call; there are no batches. An error comes with HTTP 200. The data of an error has one of two
shapes: the documented shape {"trace", "params": {path: [message]}}, and the shape of the live service,
{"pathErrors": [{"path": "params.<path>", "error": message}]}. Both shapes become a list of Problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

from connector.clarify.errors import ClarifyError, InvalidParams, NotAllowed, Problem, Refused, Retryable
from connector.clarify.transport import Answer, failure, hide_trace

FIRST_ID: Final = 1_000_000_000
"""The first request ID. All request IDs have ten digits, so that the size of an envelope is known beforehand."""

_INVALID_PARAMS = -32602
_FORBIDDEN = -32003
# -32001 and -32002 mean that a stored resource is invalid, or would become invalid: a repetition would fail too.
_REFUSED = frozenset((-32700, -32600, -32601, -32001, -32002))
_NOT_DONE = frozenset((-32015, -32009))  # the server itself says that the request was not carried out
_SHOWN_CHARACTERS = 500  # of an error's message, and of the details
_SHOWN_PROBLEMS = 5
_PROBLEMS = 100_000  # more than the series and times of any request
_PATH = 1_000  # characters of a path: an input ID has at most 128
_DEPTH = 32  # levels of an error's details
_CONTAINERS = 1_000_000  # lists and objects in an answer: 3 bytes on the wire take 64 bytes of memory, and much time


def call_body(request_id: int, method: str, *params: bytes) -> bytes:
    """The body of a call. `params` is the JSON of the parameters, in one or more pieces."""
    return b"".join(
        (
            b'{"jsonrpc":"2.0","id":%d,"method":' % request_id,
            orjson.dumps(method),
            b',"params":',
            *params,
            b"}",
        )
    )


_READING: Final = ("clarify.", "admin.select", "admin.signals.select")
"""The first parts of the names of methods that change nothing in Clarify."""


def stores(method: str) -> bool:
    """Whether a method changes something in Clarify. Then the outcome of a broken call is unknown."""
    return not method.startswith(_READING)


def result(answer: Answer, request_id: int, *, method: str, hide: Callable[[str], str]) -> dict[str, object]:
    """The result of a call. Raises the ClarifyError of the answer. `hide` removes secrets from a text."""
    if answer.status != 200:
        raise failure(answer, method=method, stores=stores(method), hide=hide)
    envelope = _decode(answer.body)
    if envelope is None:
        raise _senseless("The answer is not a JSON object", answer, method, hide)
    error = _shallow(envelope.get("error"))
    answered = envelope.get("id")
    # An error may come with the ID null, if the server could not read the ID of the request.
    if answered != request_id and (error is None or answered is not None):
        raise _senseless("The answer belongs to another request", answer, method, hide)
    if error is not None:
        message = error.get("message") if isinstance(error, dict) else error
        said = hide(str(message or "no message"))[:_SHOWN_CHARACTERS]
        found = _error(error, said, answer, method, hide)
        found.said, found.data = said, _details(error, hide)
        raise found
    content = envelope.get("result")
    if not isinstance(content, dict):
        raise _senseless("The answer holds neither a result nor an error", answer, method, hide)
    return content


def _decode(body: bytes) -> dict[str, object] | None:
    if body.count(b"[") + body.count(b"{") > _CONTAINERS:
        return None
    try:
        envelope: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return envelope if isinstance(envelope, dict) else None


def _senseless(wrong: str, answer: Answer, method: str, hide: Callable[[str], str]) -> Retryable:
    return Retryable(
        f"{wrong}: {answer.excerpt(hide) or 'the body is empty'}. Try again later; check apiUrl if the error stays.",
        code=answer.status,
        method=method,
        trace=hide_trace(answer.trace, hide),
        retry_after=answer.retry_after,
        outcome_unknown=stores(method),
    )


def _error(error: object, said: str, answer: Answer, method: str, hide: Callable[[str], str]) -> ClarifyError:
    """The exception for a JSON-RPC error object of any shape. `said` is its message, without secrets."""
    fields: dict[object, object] = error if isinstance(error, dict) else {}
    raw_code, data = fields.get("code"), fields.get("data")
    code = raw_code if type(raw_code) is int else None
    details: dict[object, object] = data if isinstance(data, dict) else {}
    trace = hide_trace(details.get("trace") or answer.trace, hide)
    what = f"{said} (code {code})" if code is not None else said

    if code == _INVALID_PARAMS:
        problems = [Problem(hide(p.path), hide(p.message)[:_SHOWN_CHARACTERS]) for p in _problems(details)]
        return InvalidParams(f"{what}: {_list(problems)}", code=code, method=method, trace=trace, problems=problems)
    if code == _FORBIDDEN:
        namespace = method.partition(".")[0]
        return NotAllowed(
            f"{what}. Grant this integration access to '{namespace}' in Clarify's admin panel.",
            code=code,
            method=method,
            trace=trace,
        )
    detail = "" if data is None else ": " + hide(orjson.dumps(data).decode())[:_SHOWN_CHARACTERS]
    if code in _REFUSED:
        return Refused(
            f"{what}{detail}. Check the API version. If the version is right, this program has a fault: please report "
            "the fault.",
            code=code,
            method=method,
            trace=trace,
        )
    return Retryable(
        f"{what}{detail}. Try again later.",
        code=code,
        method=method,
        trace=trace,
        retry_after=answer.retry_after,
        outcome_unknown=stores(method) and code not in _NOT_DONE,
    )


def _details(error: object, hide: Callable[[str], str]) -> object:
    """The data of an error, without secrets."""
    return _hidden(error.get("data"), hide) if isinstance(error, dict) else None


def _shallow(value: object, depth: int = _DEPTH) -> object:
    """The value without its deepest levels, so that no later step reaches the limit of recursion."""
    if isinstance(value, list):
        return [_shallow(entry, depth - 1) for entry in value] if depth else "..."
    if isinstance(value, dict):
        return {key: _shallow(entry, depth - 1) for key, entry in value.items()} if depth else "..."
    return value


def _hidden(value: object, hide: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, list):
        return [_hidden(entry, hide) for entry in value]
    if isinstance(value, dict):
        return {hide(str(key)): _hidden(entry, hide) for key, entry in value.items()}
    return value


def _problems(details: dict[object, object]) -> list[Problem]:
    """The complaints of both shapes as one list, in order and without repeats."""
    found: dict[Problem, None] = {}
    params, path_errors = details.get("params"), details.get("pathErrors")
    if isinstance(params, dict):
        for path, messages in params.items():
            for message in messages[:_PROBLEMS] if isinstance(messages, list) else [messages]:
                found[_problem(path, message)] = None
    if isinstance(path_errors, list):
        for entry in path_errors:
            fields = entry if isinstance(entry, dict) else {"error": entry}
            found[_problem(fields.get("path", ""), fields.get("error", "invalid"))] = None
    return list(found)[:_PROBLEMS]


def _problem(path: object, message: object) -> Problem:
    text = str(path)
    return Problem(text.removeprefix("params.") if len(text) <= _PATH else "", str(message))


def _list(problems: list[Problem]) -> str:
    if not problems:
        return "the server names no parameter"
    shown = "; ".join(f"{p.path}: {p.message}" if p.path else p.message for p in problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    return f"{shown}; and {more} more" if more > 0 else shown
