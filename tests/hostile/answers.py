"""Answers of HTTP that no honest server gives, from a seed, and the network in this process that carries them.

The bytes go through h11, httpcore, httpx and the client; only the sockets are left out. So a case takes less than a
millisecond. `Trial` makes a case of each seed: `Trial(folder).run(seed)` raises for an outcome that is none of the
policy.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx

from connector.clarify import NO_RETRIES, ClarifyError, Client, Credentials, InvalidParams
from connector.delivery.policy import RETRY_AFTER_BOUND, asked_delay, judge_frame
from connector.exchange.network import BoundedNetwork
from connector.formats.format import PayloadError, SchemaUnavailableError
from tests.hostile.targets import FRAME, api, registry
from tests.secrets_used import MARK

_ID: Final = re.compile(rb'"id":(\d{10})')
CLIENTS: Final = 9
"""Kinds of requests in a `Trial`."""
DATA_FRAME: Final = 6
"""The number of the request for a data frame."""
_OURS: Final = b"1000000000"
"""Stands for the ID of the request in an answer: it has as many digits."""


class FakeStream(httpcore.NetworkStream):
    """A connection on which the server says `pieces` and hangs up."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._id = _OURS

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next piece; nothing at the end."""
        return next(self._pieces, b"").replace(_OURS, self._id)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Find the ID of the request."""
        found = _ID.search(buffer)
        if found is not None:
            self._id = found[1]

    def close(self) -> None:
        """Nothing to close."""

    def get_extra_info(self, info: str) -> Any:
        """A connection that the server has closed is readable."""
        return info == "is_readable" or None


class FakeNetwork(BoundedNetwork):
    """A network with one server, which gives the same answer on each connection."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        """A connection to the server."""
        return FakeStream(self.pieces)


def over(network: FakeNetwork) -> httpx.HTTPTransport:
    """httpx's own transport over this network."""
    transport = httpx.HTTPTransport(verify=False)
    transport._pool._network_backend = network
    return transport


# -- answers from a seed -----------------------------------------------------------------------------

_STATUS = (200, 200, 200, 200, 200, 100, 101, 102, 199, 201, 204, 206, 301, 302, 304, 307, 308, 400, 401, 403, 404, 407)
_STATUSES = (*_STATUS, 408, 409, 413, 421, 423, 425, 429, 451, 500, 502, 503, 504, 599, 600, 999, 0, 99)
_NAMES = (
    b"Retry-After Date Location Set-Cookie traceparent Content-Type Content-Encoding Connection Content-Length "
    b"Transfer-Encoding Upgrade Keep-Alive Vary WWW-Authenticate X Trailer TE"
).split()
_VALUES = (
    b"0|-1|7|1.5|nan|inf|1e999|99999999999999999999|Mon, 1 Jan 2024 00:00:00 GMT|close|keep-alive|chunked|gzip|"
    b"identity|gzip, gzip|br|deflate|x-gzip|zstd|Mon, 1 Jan 2024 00:00:00 +99999999999999999999|"
    b"Fri, 31 Dec 9999 23:59:59 -2359|Mon, 1 Jan 0001 00:00:00 +2359|http://[::1|http://:99999999/|//|h2c|"
    b"a=b; Max-Age=99999999999999999999; Expires=Mon, 1 Jan 99999 00:00:00 GMT|text/html; charset=\xff"
).split(b"|")
_KEYS = (
    b"id jsonrpc result error code message data params pathErrors path trace signalsByInput created updated schema "
    b"access_token expires_in error_description token_type schemaType references name subject version error_code meta "
    b"total format included items signals times series type attributes relationships item input a annotations labels "
    b"sourceType valueType engUnit enumValues sampleInterval gapDetection createdAt"
).split()
_SCALARS = (
    None,
    True,
    False,
    0,
    -1,
    1,
    200,
    40403,
    -32602,
    -32603,
    -32003,
    -32001,
    -32015,
    2**31,
    2**63,
    2**64,
    10**30,
    1.5,
    1e308,
    "",
    "a",
    "PT0S",
    "PT1M",
    "P99999999999D",
    "P1Y",
    "invalid_client",
    "2026-05-01T06:00:00Z",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59.999999999+23:59",
    "params.data.series.a",
    "data.series.a.0",
    "data.times[99999999999]",
    "\ud800",
    "\x00\x1b[31m",
    "AVRO",
    '"int"',
)


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth <= 0 or kind < 0.5:
        return chance.choice(_SCALARS)
    if kind < 0.65:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(_KEYS).decode(): _value(chance, depth - 1) for _ in range(chance.randrange(5))}


def _typical(chance: random.Random) -> Any:
    """An answer as it should be, with one of its values replaced by another."""
    summary = {"id": "cp1a5c9e3g7i2k6m0o4q", "created": True, "updated": False}
    resource = {"id": "a", "type": "items", "meta": {"annotations": {}}, "attributes": {"name": "a", "visible": True}}
    results: tuple[Any, ...] = (
        {"signalsByInput": {"a": summary}},
        {"meta": {"total": 1}, "data": [resource], "included": {"items": [resource]}},
        {"meta": {}, "data": {"times": ["2026-05-01T06:00:00Z"], "series": {"a": [1.0]}}},
    )
    problems = {"params": {"data.series.a": ["bad"]}, "pathErrors": [{"path": "params.data.series.a", "error": "bad"}]}
    answer = chance.choice(
        (
            *({"jsonrpc": "2.0", "id": int(_OURS), "result": result} for result in results),
            {"id": int(_OURS), "error": {"code": chance.choice((-32602, -32603)), "message": "m", "data": problems}},
            {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"},
            {"error": "invalid_client", "error_description": "d"},
            {"schema": '"int"', "schemaType": "AVRO", "references": [{"name": "a", "subject": "a", "version": 1}]},
            {"error_code": 40403, "message": "m"},
        )
    )
    at: Any = answer
    while chance.random() < 0.7:
        inner = list(at.items()) if isinstance(at, dict) else list(enumerate(at))
        if not inner:
            break
        key, below = chance.choice(inner)
        if isinstance(below, dict | list) and chance.random() < 0.7:
            at = below
            continue
        at[key] = _value(chance, 3)
        break
    return answer


def _body(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.55:
        return json.dumps(_typical(chance)).encode()
    if kind < 0.75:
        return json.dumps(_value(chance, 5)).encode()
    if kind < 0.8:
        depth = chance.choice((50, 300, 900, 1100, 100_000))
        return chance.choice((b"[" * depth, b"[" * depth + b"]" * depth, b'{"error":' * depth + b"1" + b"}" * depth))
    if kind < 0.85:
        return b'{"id":%b,"error":%b}' % (_OURS, b"[" * 500 + b"]" * 500)
    if kind < 0.9:
        return b"1" * chance.choice((0, 10, 400, 5000))
    return chance.randbytes(chance.randrange(200))


def _coded(chance: random.Random, body: bytes) -> tuple[bytes, bytes]:
    """The body with a coding, and the header of the coding."""
    kind = chance.randrange(8)
    if kind == 0:
        return gzip.compress(body, 1), b"Content-Encoding: gzip\r\n"
    if kind == 1:
        return zlib.compress(body), b"Content-Encoding: deflate\r\n"
    if kind == 2:
        return gzip.compress(gzip.compress(body, 1), 1), b"Content-Encoding: gzip, gzip\r\n"
    if kind == 3:
        return gzip.compress(body + bytes(200_000), 1)[: chance.randrange(400)], b"Content-Encoding: gzip\r\n"
    return body, b""


def _mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        start = chance.randrange(min(len(changed), 2_000) + 1)
        end = start + chance.randrange(8)
        kind = chance.randrange(4)
        if kind == 0:
            changed[start:end] = chance.randbytes(end - start)
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end] * chance.randrange(1, 40)
        else:
            changed[start:start] = chance.choice((b"\r\n", b"\r\n\r\n", b"\x00", b":", b"\xff", *_VALUES))
    return bytes(changed)


def answer(chance: random.Random) -> bytes:
    """The bytes of an answer, mostly near to a proper one."""
    body, coding = _coded(chance, _body(chance))
    headers = [coding]
    for _ in range(chance.choice((0, 0, 0, 1, 2, 5))):
        value = chance.choice(_VALUES) if chance.random() < 0.8 else chance.randbytes(chance.randrange(30))
        headers.append(chance.choice(_NAMES) + b": " + value + b"\r\n")
    framing = chance.random()
    if framing < 0.7:
        headers.append(b"Content-Length: %d\r\n" % (len(body) + (chance.randrange(-2, 3) if framing < 0.1 else 0)))
    elif framing < 0.9:
        headers.append(b"Transfer-Encoding: chunked\r\n")
        cut = chance.randrange(len(body) + 1)
        parts = [part for part in (body[:cut], body[cut:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    chance.shuffle(headers)
    reason = b"OK" if chance.random() < 0.9 else chance.randbytes(chance.randrange(300))
    status = b"%03d" % (chance.choice(_STATUSES) if chance.random() < 0.25 else 200)
    data = b"HTTP/1.1 " + status + b" " + reason + b"\r\n" + b"".join(headers) + b"\r\n" + body
    if chance.random() < 0.05:
        data = b"HTTP/1.1 102 Processing\r\n\r\n" * chance.randrange(1, 50) + data
    return _mutated(chance, data) if chance.random() < 0.3 else data


def pieces(chance: random.Random, data: bytes) -> list[bytes]:
    """The data as it arrives: at once, or in two or three parts."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 0, 1, 2))))
    ends = [*cuts, len(data)]
    parts = [data[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    return [part for part in parts if part]


class Trial:
    """Clients of all kinds on one network. Every outcome that is none of the policy is raised."""

    def __init__(self, folder: Path) -> None:
        self.network = FakeNetwork()
        transport = over(self.network)
        self._insert = api("http://localhost", transport=transport)
        self._token = api("http://localhost", "client-credentials", transport=transport)
        credentials = Credentials.load(
            {
                "apiUrl": "http://localhost",
                "integration": "cp1a5c9e3g7i2k6m0o4q",
                "credentials": {"type": "basic-auth", "clientId": "EXAMPLE", "clientSecret": MARK},
            }
        )
        self._client = Client(credentials, transport=transport, rates=None, retries=NO_RETRIES)
        self._registry = registry("http://localhost", folder, transport=transport)
        self._schema_id = 0
        self._targets: tuple[Callable[[], object], ...] = (
            lambda: self._insert.insert(FRAME),
            self._with_new_token,
            lambda: self._insert.save_signals({"a": {"name": "a"}}),
            lambda: self._client.insert(FRAME).raise_for_error(),
            lambda: self._client.select_signals(limit=1).raise_for_error(),
            lambda: self._client.select_items(limit=1).raise_for_error(),
            lambda: self._client.data_frame(gte="2026-05-01T06:00:00Z", lt="2026-05-01T07:00:00Z").raise_for_error(),
            lambda: self._client.publish_signals({"cp1a5c9e3g7i2k6m0o4q": {"name": "a"}}).raise_for_error(),
            self._look_up,
        )

        assert len(self._targets) == CLIENTS

    def run(self, seed: int) -> str:
        """The name of the outcome of the case with this seed."""
        chance = random.Random(seed)
        return self.meet(chance.randrange(len(self._targets)), pieces(chance, answer(chance)))

    def meet(self, target: int, said: list[bytes]) -> str:
        """The name of the outcome of one client (0 to 8) that gets an answer in these pieces."""
        self.network.pieces = said
        try:
            self._targets[target]()
        except ClarifyError as error:
            _check(error)
            return type(error).__name__
        except (SchemaUnavailableError, PayloadError) as error:
            _check_length(error, 3_000)
            return type(error).__name__
        return "fine"

    def _with_new_token(self) -> None:
        self._token._authorization._token = None  # type: ignore[attr-defined]
        self._token.insert(FRAME)

    def _look_up(self) -> None:
        self._schema_id += 1
        self._registry._failed = None  # a failure is remembered for half a second
        self._registry.schema(self._schema_id)

    def close(self) -> None:
        """Close all clients."""
        for client in (self._insert, self._token, self._client, self._registry):
            client.close()


def _check_length(error: Exception, most: int) -> None:
    assert len(str(error)) < most


def _check(error: ClarifyError) -> None:
    _check_length(error, 10_000)
    assert error.__cause__ is None
    assert MARK not in f"{error!r} {vars(error)}"
    assert 0.0 <= asked_delay(error) <= RETRY_AFTER_BOUND
    judge_frame(error, ["a"], 1)
    if isinstance(error, InvalidParams):
        assert error.guilty_series(["a"]) <= {"a"}
