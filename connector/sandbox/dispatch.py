"""The table of all methods, and the execution of one call."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass

from connector.sandbox import admin, clarify, integration
from connector.sandbox.method import RESOURCE_ID, Call, Done, Method
from connector.sandbox.problems import Problems
from connector.sandbox.rollups import RollupError
from connector.sandbox.rpc import (
    FORBIDDEN,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    RpcCall,
    RpcError,
    read_params,
    render_error,
    render_result,
)
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store
from connector.sandbox.versions import ApiVersion

METHODS: tuple[Method, ...] = (*integration.METHODS, *admin.METHODS, *clarify.METHODS)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """A finished call: the body of its answer, and two numbers for the statistics.

    `body` is None for a notification. `samples` is the number of values that were taken in. `error_code` is the code of
    the RPC error, None after a success.
    """

    body: bytes | None
    samples: int = 0
    error_code: int | None = None


def find(name: str, version: ApiVersion) -> Method | None:
    """The method with this name or alias, in upper or lower case, in this version; None if there is none."""
    return next((method for method in METHODS if method.is_called(name, version)), None)


def fail(request_id: bytes | None, error: RpcError, settings: SandboxSettings) -> CallOutcome:
    """The outcome of a call that ended with `error`; `request_id` is None for a notification."""
    body = None if request_id is None else render_error(request_id, error, settings.error_style)
    return CallOutcome(body, error_code=error.code)


def execute(
    method: Method,
    rpc_call: RpcCall,
    *,
    version: ApiVersion,
    store: Store,
    settings: SandboxSettings,
    integration_id: str,
    now: float,
) -> CallOutcome:
    """Check and execute a call on behalf of an integration; `now` is in seconds since the epoch.

    A mistake in the call and a failure of the store become an outcome with an error; neither raises an exception.
    """
    problems = Problems()
    try:
        params = method.bind(read_params(rpc_call.params), version, problems)
        rpc_call.drop_params()
        _check_integration(params, integration_id, problems)
        done: Done = method.function(Call(store, settings, integration_id, params, problems, now, version))
    except RpcError as error:
        return fail(rpc_call.request_id, error, settings)
    except RollupError as error:  # too many buckets: their number is known only while the data is read
        problems.add("data.rollup", str(error))
        return fail(rpc_call.request_id, RpcError(INVALID_PARAMS, problems=problems), settings)
    except sqlite3.Error:
        _log.exception("the store failed during %s", method.name)
        return fail(rpc_call.request_id, RpcError(INTERNAL_ERROR), settings)
    body = None if rpc_call.request_id is None else render_result(rpc_call.request_id, done.result)
    return CallOutcome(body, samples=done.samples)


def _check_integration(params: dict[str, object], integration_id: str, problems: Problems) -> None:
    """Check that the parameter `integration` names the calling integration.

    Raises RpcError with FORBIDDEN for another integration.
    """
    if "integration" not in params:
        return  # a missing required parameter is already among the problems
    given = params["integration"]
    if not isinstance(given, str) or not RESOURCE_ID.fullmatch(given):
        problems.add("integration", "not a valid integration ID")
    elif given != integration_id:
        raise RpcError(FORBIDDEN)
