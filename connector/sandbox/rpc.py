"""JSON-RPC 2.0 in Clarify's form: one call per request, no batches, errors with HTTP 200.

A call is read in two steps. The first step reads only the envelope; the parameters stay raw JSON. The method decides
whether the request has to wait. While a request waits, it keeps at most 8 MiB of text, not the much larger objects. The
ID also stays raw, so that the answer repeats exactly the bytes of the request.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import orjson

from connector.sandbox.problems import Problems
from connector.sandbox.settings import ErrorStyle

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
FORBIDDEN = -32003
TRY_AGAIN = -32015
PARTIAL_FAILURE = -32021

_MESSAGES = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    FORBIDDEN: "Operation not permitted",
    TRY_AGAIN: "Try again",
    PARTIAL_FAILURE: "Partial failure",
}
_NO_ID = b"null"


class RpcError(Exception):
    """A call ends with this error.

    `problems` are the mistakes in invalid parameters. `data` replaces the usual error data.
    """

    def __init__(
        self,
        code: int,
        message: str | None = None,
        *,
        problems: Problems | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        self.code = code
        self.message = message or _MESSAGES.get(code, "Server error")
        self.problems = problems
        self.data = data
        super().__init__(f"{code} {self.message}")


class BadCallError(Exception):
    """A request that is not a valid call; `request_id` is raw JSON, `null` if the ID could not be read."""

    def __init__(self, error: RpcError, request_id: bytes = _NO_ID) -> None:
        super().__init__(str(error))
        self.error = error
        self.request_id = request_id


@dataclass(slots=True)
class RpcCall:
    """The envelope of one call, with ID and parameters as raw JSON; a call without an ID is a notification."""

    request_id: bytes | None
    method: str
    params: bytes | None

    def drop_params(self) -> None:
        """Free the memory of the parameters, as soon as they are no longer needed."""
        self.params = None


def read_call(body: bytes) -> RpcCall:
    """Read the call in the body of a request. Raises BadCallError if the body is not a valid call."""
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:  # JSON, but not an object: a batch, for example
        raise BadCallError(RpcError(INVALID_REQUEST)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadCallError(RpcError(PARSE_ERROR)) from error
    # Members are checked one by one, so that the answer to a mistake has the ID of the request if the ID is valid.
    request_id = _checked(members.get("id"), _NO_ID)
    if request_id in (None, _NO_ID):
        request_id = None
    answer_to = request_id or _NO_ID
    envelope = [_checked(members.get(name), answer_to) for name in ("jsonrpc", "method")]
    version, method = (None if raw is None else orjson.loads(raw) for raw in envelope)
    params = members.get("params")
    if version != "2.0" or not isinstance(method, str):
        raise BadCallError(RpcError(INVALID_REQUEST), answer_to)
    return RpcCall(request_id, method, None if params is None else bytes(params))


def read_params(raw: bytes | None) -> dict[str, object] | list[object]:
    """Named or positional parameters; an empty object if there are none. Raises RpcError."""
    try:
        params: object = {} if raw is None else orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RpcError(PARSE_ERROR) from error
    if params is None:
        return {}
    if not isinstance(params, dict | list):
        raise RpcError(INVALID_REQUEST)
    return params


def _checked(raw: msgspec.Raw | None, answer_to: bytes) -> bytes | None:
    """The raw JSON of a member, if it is valid to the last character; None for a missing member.

    The first pass does not check strings, so this function does. Raises BadCallError with the ID `answer_to`.
    """
    if raw is None:
        return None
    text = bytes(raw)
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadCallError(RpcError(PARSE_ERROR), answer_to) from error
    return text


def render_result(request_id: bytes, result: Mapping[str, object]) -> bytes:
    """The body of the answer to a successful call."""
    return orjson.dumps({"jsonrpc": "2.0", "id": orjson.Fragment(request_id), "result": result})


def render_error(request_id: bytes, error: RpcError, style: ErrorStyle) -> bytes:
    """The body of an answer with an error; `style` is the shape of its data for invalid parameters."""
    body = {"code": error.code, "message": error.message, "data": _error_data(error, style)}
    return orjson.dumps({"jsonrpc": "2.0", "id": orjson.Fragment(request_id), "error": body})


def _error_data(error: RpcError, style: ErrorStyle) -> Mapping[str, object]:
    if error.data is not None:
        return error.data
    if error.problems is None:
        return {"trace": _trace()}
    if style == "live":
        return {
            "pathErrors": [
                {"path": f"params.{path}", "error": message}
                for path, messages in error.problems.messages.items()
                for message in messages
            ]
        }
    return {"trace": _trace(), "params": dict(error.problems.messages)}


def _trace() -> str:
    return secrets.token_hex(10)
