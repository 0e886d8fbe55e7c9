"""Clarify, a token endpoint, a registry or a proxy that attacks: each exchange ends in time, within memory, and with an
error of the policy."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpcore
import psutil
import pytest
import trustme

from connector.clarify import ClarifyError, NotAllowed, Refused, Retryable, Timeouts, TooLarge
from connector.exchange import network
from connector.formats.format import PayloadError, SchemaUnavailableError
from tests.hostile.http_server import (
    EMPTY_BLOCK,
    HEAD,
    MIB,
    HostileServer,
    Peer,
    Script,
    answers,
    answers_and_closes,
    body_byte_every,
    chunk_every,
    floods,
    gzip_bomb,
    gzip_of_gzip_bomb,
    header_byte_every,
    processing_for_ever,
    reads_slowly,
    reset_in_the_body,
    reset_in_the_headers,
    silent,
    tls_byte_every,
    trailer_byte_every,
    with_body,
)
from tests.hostile.targets import BOUND, LARGE, LIMITS, REGISTRY, STEP, TARGETS, TIMEOUTS, Target, api, registry
from tests.secrets_used import CLARIFY_SECRET, MARK, REGISTRY_TOKEN

OFTEN = STEP / 6
"""Seconds between two bytes: shorter than each time-out."""
BUSY = 10.0
"""Seconds that a busy machine may take longer. A client without a bound waits for a minute."""

each_target = pytest.mark.parametrize("target", TARGETS, ids=repr)


def measured(target: Target, server: HostileServer, folder: Path) -> tuple[Exception | None, float]:
    """The outcome of one exchange, and its seconds."""
    began = time.monotonic()
    return target.ask(server.url, folder, None), time.monotonic() - began


@each_target
@pytest.mark.parametrize(
    "script",
    [
        header_byte_every(OFTEN),
        processing_for_ever(OFTEN),
        processing_for_ever(0.0),
        body_byte_every(OFTEN),
        chunk_every(OFTEN),
        trailer_byte_every(OFTEN),
        silent,
    ],
    ids=["header byte", "102 slowly", "102 fast", "body byte", "chunk", "trailer byte", "silent"],
)
def test_an_exchange_ends_in_time_and_hangs_up(target: Target, script: Script, tmp_path: Path) -> None:
    with HostileServer(script) as server:
        error, seconds = measured(target, server, tmp_path)
        assert isinstance(error, target.away), error
        assert seconds < BOUND + BUSY
        server.wait_until_hung_up()


@each_target
@pytest.mark.parametrize("script", [tls_byte_every(OFTEN), silent], ids=["a byte at a time", "silent"])
def test_a_tls_handshake_ends_in_time(target: Target, script: Script, tmp_path: Path) -> None:
    with HostileServer(script, scheme="https") as server:
        error, seconds = measured(target, server, tmp_path)
        assert isinstance(error, target.away), error
        assert seconds < BOUND + BUSY
        server.wait_until_hung_up()


@pytest.mark.parametrize("script", [reads_slowly(OFTEN), silent], ids=["reads slowly", "reads nothing"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_an_upload_ends_in_time(script: Script, encrypted: bool, tmp_path: Path) -> None:
    context, trusted = _tls(tmp_path)
    scheme = "https" if encrypted else "http"
    with (
        HostileServer(script, tls=context if encrypted else None, scheme=scheme) as server,
        api(server.url, verify=trusted) as client,
    ):
        began = time.monotonic()
        with pytest.raises(Retryable) as caught:
            client.insert_encoded(LARGE)
        assert time.monotonic() - began < BOUND + BUSY
        assert caught.value.outcome_unknown
        # The server does not see the end behind the bytes that it has not read, so the descriptor must be gone here.
        mine = psutil.Process().net_connections("tcp")
        assert not [one for one in mine if one.fd >= 0 and one.raddr and one.raddr.port == server.port]


def test_bytes_within_tls_cannot_hold_an_exchange_either(tmp_path: Path) -> None:
    context, trusted = _tls(tmp_path)
    with (
        HostileServer(header_byte_every(OFTEN), tls=context, scheme="https") as server,
        api(server.url, verify=trusted) as client,
    ):
        began = time.monotonic()
        with pytest.raises(Retryable, match="No answer in time"):
            client.call("x.y", {})
        assert time.monotonic() - began < BOUND + BUSY
        server.wait_until_hung_up()


@pytest.mark.parametrize("script", [silent, header_byte_every(OFTEN), answers(b"HTTP/1.1 200 OK\r\n\r\n")])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_proxy_cannot_hold_an_exchange(
    script: Script, encrypted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where TLS to Clarify goes through TLS to the proxy."""
    context, trusted = _tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    scheme = "https" if encrypted else "http"
    with HostileServer(script, tls=context if encrypted else None, scheme=scheme) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with api("https://clarify.example") as client:
            began = time.monotonic()
            with pytest.raises(Retryable):
                client.call("x.y", {})
        assert time.monotonic() - began < BOUND + BUSY
        assert proxy.connections == 1
        proxy.wait_until_hung_up()


def test_tls_goes_through_a_proxy_that_is_reached_by_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context, trusted = _tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    long = "x" * 300_000

    def script(peer: Peer) -> None:
        assert peer.request().startswith(b"CONNECT localhost:443 ")
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        inner = _InnerTls(peer, context)
        for _ in range(2):  # the connection is kept
            request = json.loads(inner.request().partition(b"\r\n\r\n")[2])
            body = json.dumps({"id": request["id"], "result": {"said": request["params"]["say"]}}).encode()
            inner.send(with_body(body))

    with HostileServer(script, tls=context, scheme="https") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with api("https://localhost", timeouts=Timeouts(connect=30, read=30, write=30)) as client:
            assert client.call("x.y", {"say": long}) == {"said": long}
            assert client.call("x.y", {"say": "again"}) == {"said": "again"}
        assert proxy.connections == 1


class _InnerTls:
    """The server's side of TLS within a peer's connection."""

    def __init__(self, peer: Peer, context: ssl.SSLContext) -> None:
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._run(self._tls.do_handshake)

    def request(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received or not received.endswith(b"}}"):
            received += self._run(lambda: self._tls.read(65536))
        return received

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._run(partial(self._tls.write, rest)) :]

    def _run(self, step):  # type: ignore[no-untyped-def]
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._peer.send(self._outgoing.read())
                self._incoming.write(self._peer.read())
            else:
                self._peer.send(self._outgoing.read())
                return result


def test_a_name_that_is_not_resolved_ends_in_time_and_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    resolve = network.socket.getaddrinfo

    def getaddrinfo(host: str, *rest: object, **more: object) -> object:
        if more.get("flags"):
            return resolve(host, *rest, **more)  # type: ignore[arg-type]
        over.wait(120)
        raise OSError("no name server")

    monkeypatch.setattr(network.socket, "getaddrinfo", getaddrinfo)
    before = threading.active_count()
    try:
        with api("https://slow.example") as client:
            for _ in range(3):
                began = time.monotonic()
                with pytest.raises(Retryable, match="No connection in time") as caught:
                    client.call("x.y", {})
                assert time.monotonic() - began < BOUND + BUSY
                assert not caught.value.outcome_unknown
        assert threading.active_count() <= before + 1
    finally:
        over.set()


@each_target
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            answers(
                with_body(gzip_of_gzip_bomb(3072), headers=b"Content-Encoding: gzip, gzip\r\n"),
            ),
            "more than once",
        ),
        (answers(with_body(gzip_bomb(3072), headers=b"Content-Encoding: gzip\r\n")), "longer than"),
        (
            answers(
                with_body(
                    gzip.compress(gzip_bomb(300)), headers=b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"
                )
            ),
            "more than once",
        ),
        (answers(with_body(b"{}", headers=b"Content-Encoding: br\r\n")), "not asked for"),
        (answers(with_body(b"{}", headers=b"Content-Encoding: gzip\r\n")), "cannot be decompressed"),
        (answers(with_body(gzip.compress(b"{}")[:-3], headers=b"Content-Encoding: gzip\r\n")), "where its compression"),
        (answers(with_body(gzip.compress(b"{}") * 2, headers=b"Content-Encoding: gzip\r\n")), "where its compression"),
        (
            floods(
                HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip_bomb(1),
                EMPTY_BLOCK * 20_000,
            ),
            None,
        ),
        (floods(HEAD + b"\r\n", b" " * MIB), None),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\n  \r\n" * 10_000), None),
        (floods(HEAD + b"X: ", b"a" * MIB), "RemoteProtocolError"),
        (floods(HEAD, b"X: a\r\n" * 10_000), "RemoteProtocolError"),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * MIB), "RemoteProtocolError"),
        (floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n" * 10_000), "RemoteProtocolError"),
    ],
    ids=[
        "gzip, gzip",
        "gzip of 3 GiB",
        "gzip twice",
        "br",
        "no gzip",
        "cut gzip",
        "two gzips",
        "endless nothing",
        "endless body",
        "tiny chunks",
        "endless header",
        "endless headers",
        "endless chunk extension",
        "endless trailer",
    ],
)
def test_an_answer_is_bounded_in_memory(target: Target, script: Script, said: str | None, tmp_path: Path) -> None:
    with HostileServer(script) as server:
        tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            error, seconds = measured(target, server, tmp_path)
            peak = tracemalloc.get_traced_memory()[1] / MIB
        finally:
            tracemalloc.stop()
        assert isinstance(error, target.away), error
        # On a busy machine the deadline may come first.
        assert said is None or said in str(error) or seconds > STEP
        assert peak < 2 * LIMITS[target.name] + 24
        assert seconds < BOUND + BUSY


@each_target
@pytest.mark.parametrize(
    "script",
    [
        reset_in_the_body,
        reset_in_the_headers,
        answers_and_closes(b""),
        answers_and_closes(HEAD + b"Content-Length: 100\r\n\r\n{}"),
        answers_and_closes(HEAD + b"Content-Length: 1\r\n\r\n{}{}{}"),
        answers_and_closes(HEAD + b"Content-Length: -1\r\n\r\n{}"),
        answers_and_closes(HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n{}"),
        answers_and_closes(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
        answers_and_closes(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        answers_and_closes(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n{}"),
        answers_and_closes(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
        answers_and_closes(b"HTTP/1.1 099 Below\r\n\r\n"),
        answers_and_closes(b"HTTP/1.1 999 Beyond\r\nContent-Length: 0\r\n\r\n"),
        answers_and_closes(b"HTTP/2 200\r\n\r\n"),
        answers_and_closes(b"SSH-2.0-OpenSSH_9.6\r\n"),
        answers_and_closes(b"\x00\xff" * 5000),
        answers(with_body(b"[" * 100_000)),
        answers(with_body(b"[" * 900 + b"]" * 900)),
        answers(with_body(b'{"a":' * 500 + b"1" + b"}" * 500)),
        answers(with_body(b"1" * 100_000)),
        answers(with_body(b'{"id":1e999,"schema":1e999,"access_token":1e999}')),
        answers(with_body(b'{"id":"\xff\xfe"}')),
        answers(with_body(b'{"id":"\\ud800"}')),
        answers(with_body(b"\xef\xbb\xbf{}")),
        answers(with_body(b"[" + b"[]," * 5_000_000 + b"1]")),
        answers(with_body(b"", status=b"204 No Content")),
        answers(with_body(b"{}", status=b"503 \xff\xfe" + b"a" * 50_000)),
    ],
)
def test_nonsense_is_an_error_that_blames_no_data(target: Target, script: Script, tmp_path: Path) -> None:
    with HostileServer(script) as server:
        error, seconds = measured(target, server, tmp_path)
    assert isinstance(error, target.away), error
    assert len(str(error)) < 2_000
    assert seconds < BOUND + BUSY


@each_target
@pytest.mark.parametrize(
    "headers",
    [
        b"Retry-After: Mon, 1 Jan 2024 00:00:00 +99999999999999999999\r\n",
        b"Retry-After: nan\r\nDate: nan\r\n",
        b"Retry-After: -1\r\n",
        b"Retry-After: " + b"9" * 50_000 + b"\r\n",
        b"Retry-After: \xff\xfe\r\nDate: \xff\r\n",
        b"Date: Mon, 1 Jan 99999999999999999999 00:00:00 GMT\r\n",
        b"Date: Mon, 1 Jan 2024 00:00:00 +99999999999999999999\r\n",
        b"Date: Mon, 1 Jan 0001 00:00:00 +2359\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -2359\r\n",
        b"Date: " + b"(" * 50_000 + b"\r\n",
        b"Location: http://[::1\r\nSet-Cookie: \x80\r\n",
        b"traceparent: " + b"a" * 50_000 + b"\r\n",
        b"Content-Encoding: br, zstd\r\n",
        b"Content-Type: text/html; charset=\xff\r\n",
        b"Connection: \xff\r\nKeep-Alive: timeout=-1\r\n",
        b"X: a\r\n" * 10_000,
    ],
)
@pytest.mark.parametrize("status", [b"200 OK", b"401 No", b"413 Long", b"429 Later"])
def test_no_header_ends_anything(target: Target, headers: bytes, status: bytes, tmp_path: Path) -> None:
    with HostileServer(answers(with_body(b"{}", status=status, headers=headers))) as server:
        error, _ = measured(target, server, tmp_path)
    outcomes = (Retryable, NotAllowed, Refused, TooLarge, SchemaUnavailableError)
    assert isinstance(error, outcomes), error
    if isinstance(error, TooLarge):
        assert (target.name, status) == ("insert", b"413 Long")
    assert len(str(error)) < 3_000


@pytest.mark.parametrize("status", [b"413 Long", b"200 OK"])
def test_a_token_endpoint_cannot_blame_the_data(status: bytes, tmp_path: Path) -> None:
    """After a TooLarge the caller would split the data, and give up a single value."""
    with (
        HostileServer(answers(with_body(b" " * MIB, status=status))) as server,
        api(server.url, "client-credentials") as client,
        pytest.raises(Retryable),
    ):
        client.call("clarify.dataFrame", {})


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":[]}',
        b'{"error":{}}',
        b'{"error":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"error":"invalid_client","error_description":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"access_token":"a","expires_in":1e308}',
        b'{"access_token":"' + b"a" * 60_000 + b'","expires_in":-1}',
    ],
)
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad", b"401 No"])
def test_a_refusal_of_any_shape(body: bytes, status: bytes) -> None:
    with HostileServer(answers(with_body(body, status=status))) as server:
        began = time.monotonic()
        with api(server.url, "client-credentials") as client, pytest.raises(ClarifyError):
            client.call("x.y", {})
        assert time.monotonic() - began < 2 * BOUND + BUSY


DEEP = b"[" * 900 + b"]" * 900


@pytest.mark.parametrize(
    "error",
    [
        DEEP,
        b'{"code":-32602,"data":' + DEEP + b"}",
        b'{"code":-32602,"message":' + DEEP + b"}",
        b'{"code":-32602,"data":{"trace":' + DEEP + b',"params":{"a":' + DEEP + b"}}}",
        b'{"code":-32602,"data":{"pathErrors":' + DEEP + b"}}",
        b'{"code":-32602,"data":{"pathErrors":[{"path":' + DEEP + b',"error":' + DEEP + b"}]}}",
        b'{"code":-32603,"data":' + DEEP + b"}",
        b'{"code":-32001,"data":' + DEEP + b"}",
        b'{"code":1e400,"message":[]}',
        b'{"code":99999999999999999999999,"message":{}}',
        b'{"code":-32602,"data":{"params":{"' + b"." * 1_000_000 + b'":"x"}}}',
        b'{"code":-32602,"data":{"params":{"data.series.' + b"." * 1_000_000 + b'":"x"}}}',
        b'{"code":-32602,"data":{"params":{"data.series":[' + b'"x",' * 300_000 + b'"y"]}}}',
    ],
)
def test_an_rpc_error_of_any_shape(error: bytes) -> None:
    def script(peer: Peer) -> None:
        request = json.loads(peer.request().partition(b"\r\n\r\n")[2])
        peer.send(with_body(b'{"id":%d,"error":%b}' % (request["id"], error)))

    with HostileServer(script) as server, api(server.url) as client:
        began = time.monotonic()
        with pytest.raises(ClarifyError) as caught:
            client.insert({"times": ["2026-05-01T06:00:00Z"], "series": {"a": [1.0]}})
        if hasattr(caught.value, "guilty_series"):
            assert caught.value.guilty_series(["a"]) == set()
            caught.value.named_in_frame(["a"], 1)
        assert time.monotonic() - began < BOUND + BUSY
    assert len(str(caught.value)) < 5_000


def test_a_chain_of_references_has_an_end(tmp_path: Path) -> None:
    """Each schema of a hostile registry refers to the next one."""

    def script(peer: Peer) -> None:
        while True:
            number = int(peer.request().split()[1].rpartition(b"/")[2])
            name = f"s{number + 1}"
            said = {"schema": '"int"', "references": [{"name": name, "subject": name, "version": number + 1}]}
            peer.send(with_body(json.dumps(said).encode()))

    with HostileServer(script) as server:
        client = registry(server.url, tmp_path)
        try:
            with pytest.raises((PayloadError, SchemaUnavailableError)):
                client.schema(1)
        finally:
            client.close()


def test_a_look_up_with_many_requests_ends_in_time(tmp_path: Path) -> None:
    """Each request is within its time-out, and there are hundreds."""

    def script(peer: Peer) -> None:
        while True:
            path = peer.request().split()[1]
            peer.pause(STEP / 3)
            names = [f"s{number}" for number in range(300)] if b"/ids/" in path else []
            references = [{"name": name, "subject": name, "version": 1} for name in names]
            peer.send(with_body(json.dumps({"schema": '"int"', "references": references}).encode()))

    with HostileServer(script) as server:
        client = registry(server.url, tmp_path)
        began = time.monotonic()
        try:
            with pytest.raises(SchemaUnavailableError):
                client.schema(1)
        finally:
            client.close()
        assert time.monotonic() - began < 3 * REGISTRY + BUSY


def _echoes(request: bytes) -> Iterator[bytes]:
    secret = b" ".join(line for line in request.split(b"\r\n") if b"uthorization" in line or b"secret" in line)
    yield b"HTTP/1.1 200 " + secret + b"\r\n\r\n"
    yield b"HTTP/1.1 503 " + secret + b"\r\nContent-Length: 0\r\n\r\n"
    yield secret + b"\r\n\r\n"
    yield HEAD + secret + b"\r\n\r\n{}"
    yield HEAD + b"\x00" + secret + b"\r\n\r\n{}"
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + secret + b"\r\n"
    yield HEAD + b"Transfer-Encoding: " + secret + b"\r\n\r\n"
    yield HEAD + b"Content-Length: " + secret + b"\r\n\r\n"
    yield HEAD + b"Content-Encoding: " + secret + b"\r\n\r\n{}"
    yield b"HTTP/1.1 302 Moved\r\nLocation: http://x/" + secret + b"\r\nContent-Length: 0\r\n\r\n"
    yield b"HTTP/1.1 503 Down\r\ntraceparent: " + secret + b"\r\nContent-Length: 0\r\n\r\n"
    for status in (b"200 OK", b"400 Bad", b"401 No", b"500 Broken"):
        yield with_body(secret, status=status)
        yield with_body(json.dumps({"message": secret.decode()}).encode(), status=status)
        yield with_body(json.dumps({"error": secret.decode()}).encode(), status=status)
        data = {"params": {secret.decode(): secret.decode()}, "pathErrors": [{"path": secret.decode(), "error": "x"}]}
        error = {"code": -32602, "message": secret.decode(), "data": data}
        yield with_body(json.dumps({"id": None, "error": error}).encode(), status=status)


@each_target
@pytest.mark.parametrize("number", range(len(list(_echoes(b"")))))
def test_no_error_quotes_a_secret_that_the_server_repeats(target: Target, number: int, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.send(list(_echoes(peer.request()))[number])

    with HostileServer(script) as server:
        error, _ = measured(target, server, tmp_path)
    assert error is not None
    seen: BaseException | None = error
    while seen is not None:
        said = f"{seen} {seen!r} {vars(seen)}"
        for secret in (MARK, CLARIFY_SECRET, REGISTRY_TOKEN):
            assert secret not in said
        seen = seen.__cause__ or seen.__context__


def test_a_client_works_after_every_attack(tmp_path: Path) -> None:
    """One client for all: nothing that an answer leaves behind harms the next one.

    A proper answer must be in time on a busy machine, too: so the time-outs are longer than in other tests.
    """
    attacks = iter(
        [header_byte_every(OFTEN), reset_in_the_body, answers_and_closes(b"\xff" * 200), _good, silent, _good]
    )

    def script(peer: Peer) -> None:
        next(attacks)(peer)

    timeouts = Timeouts(connect=2.0, read=2.0, write=2.0, answer=2.0)
    with HostileServer(script) as server, api(server.url, timeouts=timeouts) as client:
        outcomes = []
        for _ in range(6):
            try:
                outcomes.append(client.call("x.y", {}))
            except Retryable:
                outcomes.append({})
    assert outcomes == [{}, {}, {}, {"fine": True}, {}, {"fine": True}]


def _good(peer: Peer) -> None:
    """One good answer; the next request comes on a new connection."""
    request = json.loads(peer.request().partition(b"\r\n\r\n")[2])
    peer.send(with_body(json.dumps({"id": request["id"], "result": {"fine": True}}).encode()))


def _tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS for localhost, and a file of the authority to trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    trusted = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return context, trusted


def test_the_bound_is_the_sum_of_the_time_outs() -> None:
    assert TIMEOUTS.total == pytest.approx(4 * STEP)


def test_slow_writing_has_an_end_although_each_step_gets_on() -> None:
    """The other side takes a kilobyte every 10 ms."""
    ours, theirs = socket.socketpair()
    for one in (ours, theirs):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    over = threading.Event()

    def drain() -> None:
        while not over.wait(0.01):
            theirs.recv(1024)

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        stream = network._Stream(ours)
        began = time.monotonic()
        with network.deadline(0.5), pytest.raises(httpcore.WriteTimeout):
            stream.write(bytes(20 * MIB), timeout=60)
        assert time.monotonic() - began < 0.5 + BUSY
    finally:
        over.set()
        thread.join(60)
        ours.close()
        theirs.close()
