"""Single calls: each method encodes a request, sends the request, and returns the result or raises an error.

A call is repeated in one case only: if a token is refused (401), the token is renewed and the call is sent once more.
The caller decides about the pace, about repetition, and about the data after an error. The class of an error is the
remedy (see `errors`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from itertools import count
from types import TracebackType
from typing import Final, Self

import httpx
import orjson

from connector.clarify import rpc
from connector.clarify.credentials import Credentials, CredentialsSource, CurrentCredentials
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import NotAllowed, TooLarge
from connector.clarify.limits import API_VERSION, REQUEST_BYTES
from connector.clarify.models import SignalInfo, check_input_id
from connector.clarify.results import InsertResult, SaveSignalsResult, insert_result, save_signals_result
from connector.clarify.tokens import RenewedAuthorization
from connector.clarify.transport import Answer, Timeouts, Transport
from connector.clarify.validation import validated

_INSERT: Final = "integration.insert"
_SAVE_SIGNALS: Final = "integration.saveSignals"


class Api:
    """Calls Clarify for one integration. Safe for several threads. The first call opens the first connection.

    A call that fails raises Retryable, NotAllowed, Refused, InvalidParams or TooLarge. All these classes are subclasses
    of ClarifyError.
    """

    def __init__(
        self,
        credentials: CurrentCredentials | Credentials | CredentialsSource,
        *,
        api_version: str = API_VERSION,
        timeout: Timeouts | None = None,
        transport: httpx.BaseTransport | None = None,
        verify: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        user_agent: str = "clarify-connector",
        told_trust: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """`verify` is a CA file to trust instead of the usual authorities; `clock` counts seconds.

        `told_trust` gets None after a changed CA file was read again, or what is wrong with the file. `transport`
        replaces the network. Raises CredentialsError for wrong credentials, and ArgumentError for other wrong
        arguments.
        """
        if not isinstance(credentials, CurrentCredentials):
            credentials = CurrentCredentials.of(credentials)
        timeouts = timeout if timeout is not None else Timeouts()
        self._credentials = credentials
        self.longest_call = 4 * timeouts.total
        """The longest time of one call, in seconds: a token and a request, and both once more after a 401."""
        self._transport = Transport(
            timeouts=timeouts,
            headers={"User-Agent": user_agent},
            clock=clock,
            transport=transport,
            verify=verify,
            told=told_trust,
        )
        self._authorization = RenewedAuthorization(credentials, self._transport, timeouts, clock)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-API-Version": api_version,
        }
        self._request_ids = count(rpc.FIRST_ID)
        self._insert_start = b'{"integration":%b,"data":' % orjson.dumps(credentials.value.integration)
        self._insert_end = b"}"

    @property
    def integration(self) -> str:
        """The ID of the integration that the credentials belong to."""
        return self._credentials.value.integration

    @property
    def clock_offset(self) -> float | None:
        """The seconds that the local clock is ahead of Clarify's clock; negative if the local clock is behind.

        The number is exact to about a second. None before the first answer.
        """
        return self._transport.clock_offset

    @property
    def insert_overhead(self) -> int:
        """The exact number of bytes in the body of an insert besides the encoded data."""
        return len(rpc.call_body(rpc.FIRST_ID, _INSERT, self._insert_start, self._insert_end))

    def insert(self, data: DataFrame | Mapping[str, object]) -> InsertResult:
        """Write a data frame, or {"times": [...], "series": {...}}. Signals that do not exist are created.

        Raises ArgumentError if the data breaks a rule of DataFrame.
        """
        frame = data if isinstance(data, DataFrame) else DataFrame.from_dict(data)
        return self.insert_encoded(frame.to_wire_bytes())

    def insert_encoded(self, data_json: bytes) -> InsertResult:
        """Write a data frame that is encoded already: {"times":[...],"series":{...}}. The bytes are sent unchanged."""
        params = (self._insert_start, data_json, self._insert_end)
        return insert_result(self._call(_INSERT, *params), _INSERT)

    def save_signals(
        self,
        signals_by_input: Mapping[str, SignalInfo | Mapping[str, object]],
        create_only: bool = False,
    ) -> SaveSignalsResult:
        """Save metadata by input ID. A field that is left out is reset. Signals that do not exist are created.

        With `create_only`, signals that exist do not change. ArgumentError names the input and the broken rule.
        """
        views = {check_input_id(key): _signal(key, info) for key, info in signals_by_input.items()}
        params = {
            "integration": self.integration,
            "signalsByInput": {key: info.to_wire() for key, info in views.items()},
            "createOnly": create_only,
        }
        return save_signals_result(self.call(_SAVE_SIGNALS, params), _SAVE_SIGNALS)

    def call(self, method: str, params: Mapping[str, object]) -> dict[str, object]:
        """The result of any RPC method. `params` are sent unchanged; most methods need the parameter `integration`."""
        return self._call(method, orjson.dumps(dict(params)))

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        version = self._headers["X-API-Version"]
        return f"Api({self._credentials.value.api_url}, integration {self.integration}, API {version})"

    def _call(self, method: str, *params: bytes) -> dict[str, object]:
        request_id = next(self._request_ids)
        body = rpc.call_body(request_id, method, *params)
        if len(body) > REQUEST_BYTES:
            # The request is not sent: the API's answer is not documented, and a broken connection would look like an
            # error that a repetition may help.
            raise TooLarge(
                f"The request has {len(body)} bytes, and Clarify takes {REQUEST_BYTES}. Send less data in one request.",
                method=method,
            )
        header = self._authorization.header()
        answer = self._post(method, body, header)
        if answer.status == 401 and self._authorization.discard(header):
            header = self._authorization.header()
            answer = self._post(method, body, header)
        try:
            return rpc.result(answer, request_id, method=method, hide=self._hider(header))
        except NotAllowed as error:
            self._authorization.distrust(header, refused=error.code == 401)
            raise

    def _post(self, method: str, body: bytes, header: str) -> Answer:
        headers = {**self._headers, "Authorization": header}
        return self._transport.post(
            self._credentials.value.rpc_url, body, headers, method=method, stores=rpc.stores(method)
        )

    def _hider(self, header: str) -> Callable[[str], str]:
        """A function that removes the secret, and the token of this call, from a server's text."""
        token = header.partition(" ")[2]
        return lambda text: self._credentials.hide(text, token)


def _signal(key: str, info: SignalInfo | Mapping[str, object]) -> SignalInfo:
    return info if isinstance(info, SignalInfo) else validated(SignalInfo, f"signal {key!r}", info)
