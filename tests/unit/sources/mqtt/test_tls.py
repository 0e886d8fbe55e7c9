"""A `TlsSocket` behaves as Python's `SSLSocket`, and asks the system once for many records."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest

from connector.brokers.mqtt import explained
from connector.sources.mqtt import tls
from connector.sources.mqtt.tls import TlsSocket
from tests.tls_server import NAME, WRAPS, TlsServer, Wrap, client_context, come, sent, with_ours
from tests.waiting import wait_until

MESSAGES = [b"%d " % i * 30 for i in range(200)]
both = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Counted(socket.socket):
    """A socket that counts how often the system was asked for bytes."""

    reads = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.reads += 1
        return super().recv(size, flags)


# -- reading -----------------------------------------------------------------------------------------


def test_one_question_to_the_system_brings_many_records() -> None:
    with TlsServer() as server:
        counted = server.theirs = Counted(fileno=server.theirs.detach())
        client = server.connect()
        assert come(client) is None, "the session tickets are read"
        before = counted.reads
        server.sock.sendall(server.records(*MESSAGES))
        assert come(client) == b"".join(MESSAGES)
        assert counted.reads == before + 1


@versions
def test_records_may_be_cut_at_any_place(version: ssl.TLSVersion) -> None:
    messages = [b"one", b"x" * 50, b"three"]
    with TlsServer(version) as server:
        client = server.connect()
        assert come(client) is None
        got = b""
        for byte in server.records(*messages):
            server.sock.sendall(bytes([byte]))
            data = come(client)
            got += data or b""
            assert data or not client.pending(), "a part of a record is nothing that can be read"
        assert got == b"".join(messages)


def test_what_was_read_ahead_is_pending_until_it_is_read() -> None:
    with TlsServer() as server:
        client = server.connect()
        server.sock.sendall(server.records(*MESSAGES))
        got = [come(client, 100)]
        while client.pending():
            got.append(come(client, 100))
        whole = b"".join(filter(None, got))
        assert whole == b"".join(MESSAGES)
        assert max(len(one) for one in got if one) == 100


def test_no_more_is_read_ahead_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may be longer than one reading."""
    monkeypatch.setattr(tls, "_READ_AHEAD", 1000)
    data = bytes(range(256)) * 400
    with TlsServer() as server:
        client = server.connect()
        thread = threading.Thread(target=server.sock.sendall, args=[server.records(*[data[:16_384]] * 6)])
        thread.start()
        got, most = b"", 0
        while len(got) < 6 * 16_384:
            piece = come(client, 1_000_000) or b""
            assert len(piece) <= 1000
            got += piece
            most = max(most, client._incoming.pending)
        thread.join()
        assert got == data[:16_384] * 6
        assert most < 1000 + 16_384 + 300


@both
@pytest.mark.parametrize("end", ["in order", "in order, but not below TLS", "without a word", "within a record"])
def test_an_end_comes_after_what_was_sent_before(wrap: Wrap, end: str) -> None:
    with TlsServer() as server:
        client = server.connect(wrap)
        last = server.records(b"last")
        server.sock.sendall(last + (server.goodbye() if "in order" in end else last[:20] if "record" in end else b""))
        if "not below" not in end:
            server.sock.close()
        assert come(client) == b"last"
        if wrap is with_ours and "in order" in end:
            assert client.pending(), "nobody would read, since the system has nothing more"
        assert [come(client), come(client)] == [b"", b""]


@both
def test_a_record_that_was_changed_ends_the_connection_after_what_came_before(wrap: Wrap) -> None:
    with TlsServer() as server:
        client = server.connect(wrap)
        bad = bytearray(server.records(b"good", b"bad"))
        bad[-1] ^= 1
        server.sock.sendall(bad)
        assert come(client) == b"good"
        with pytest.raises(ssl.SSLError, match="DECRYPTION_FAILED_OR_BAD_RECORD_MAC"):
            come(client)
        with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
            server.received()


def test_a_reset_is_the_error_of_the_system() -> None:
    with TlsServer() as server:
        client = server.connect()
        assert client.send(b"never read") == 10
        server.sock.close()
        with pytest.raises(ConnectionResetError):
            come(client)


# -- writing -----------------------------------------------------------------------------------------


@both
def test_what_does_not_fit_goes_with_the_next_try(wrap: Wrap) -> None:
    data = bytes(range(251)) * 2000
    with TlsServer() as server:
        server.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that there is
        client = server.connect(wrap)
        at = refused = 0
        got = b""
        while at < len(data):
            count = sent(client, data[at:])
            at += count or 0
            if count is None:
                refused += 1
                assert sent(client, data[at:]) is None, "nobody has read"
                assert not isinstance(client, TlsSocket) or len(client._unsent) + client._outgoing.pending < 17_000
                got += server.received()
        assert got + server.received() == data
        assert refused > 10


def test_a_blocking_write_sends_all() -> None:
    data = b"x" * 300_000
    with TlsServer() as server:
        client = server.connect(blocks=True)
        thread = threading.Thread(target=client.sendall, args=[data])
        thread.start()
        got = bytearray()

        def whole() -> bool:
            got.extend(server.received())
            return len(got) >= len(data)

        wait_until(whole, 60, lambda: f"{len(got)} bytes")
        thread.join()
        assert got == data


def test_nothing_is_read_while_the_other_side_takes_no_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may ask for new keys again and again, and each question makes an answer."""
    monkeypatch.setattr(tls, "_MOST_ANSWERS", 1000)
    data = b"x" * 100_000
    with TlsServer() as server:
        server.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        client = server.connect()
        assert come(client) is None
        at = 0
        while count := sent(client, data[at:]):
            at += count
        assert len(client._unsent) > 1000, "as long as so many answers"
        server.sock.sendall(server.records(b"question"))
        assert come(client) is None
        assert not client.pending()
        while not sent(client, data[at:]):
            server.received()
        assert come(client) == b"question"


# -- the handshake -----------------------------------------------------------------------------------


def refusal(wrap: Wrap, context: ssl.SSLContext, host: str) -> tuple[str, str, str]:
    """The text for people, OpenSSL's text, and what the server was told."""
    with TlsServer() as server:
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            server.connect(wrap, context, host)
        told = server.failure
        assert wrap is not with_ours or server.theirs.fileno() == -1, "closed"
        return explained(refused.value, 10), refused.value.verify_message, told.reason if told else ""


@pytest.mark.parametrize("why", ["unknown authority", "another name"])
def test_a_certificate_is_refused_as_python_refuses_it(why: str) -> None:
    arguments = (ssl.create_default_context(), NAME) if "unknown" in why else (client_context(), "elsewhere")
    ours, theirs = (refusal(wrap, *arguments) for wrap in WRAPS.values())
    assert ours == theirs
    assert ours[2].startswith(("TLSV1_ALERT", "SSLV3_ALERT")), "the server's log can say why"


def failure(wrap: Wrap, answer: bytes) -> OSError:
    """The error of a handshake that is answered with this, and then closed."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        theirs.recv(65_536)
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve)
    thread.start()
    with theirs, ours:
        with pytest.raises(OSError, match=r".") as failed:
            wrap(ours, client_context(), NAME)
        thread.join()
    return failed.value


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\3\3\0\2\2\x28", b"\x16\3\3"])
def test_a_handshake_fails_as_python_says(answer: bytes) -> None:
    ours, theirs = (failure(wrap, answer) for wrap in WRAPS.values())
    assert type(ours) is type(theirs)
    assert explained(ours, 10) == explained(theirs, 10)


@pytest.mark.parametrize("talks", [False, True])
def test_the_whole_handshake_has_one_deadline(talks: bool) -> None:
    """Also if bytes keep coming."""
    ours, theirs = socket.socketpair()
    ended = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(BrokenPipeError):  # given up
            for byte in b"\x16\3\3\x40\0" + bytes(1000):
                theirs.sendall(bytes([byte]))
                if ended.wait(0.02):
                    return

    thread = threading.Thread(target=trickle)
    if talks:
        thread.start()
    with pytest.raises(TimeoutError) as late:
        TlsSocket(ours, client_context(), NAME, 0.2)
    ended.set()
    if talks:
        thread.join()
    theirs.close()
    assert explained(late.value, 0.2) == "no answer within 0.2 s; is a firewall in between?"
    assert ours.fileno() == -1
