"""Whatever the sizes of messages, cuts and reads: a `TlsSocket` gives what Python's `SSLSocket` gives."""

from __future__ import annotations

import socket
import ssl

from hypothesis import given
from hypothesis import strategies as st

from tests.property.fuzz import FUZZ
from tests.tls_server import WRAPS, TlsServer, Wrap, come, sent


def filled(sizes: list[int]) -> list[bytes]:
    """Messages of these sizes, each of another byte."""
    return [bytes([i]) * size for i, size in enumerate(sizes)]


def exchanged(
    wrap: Wrap, version: ssl.TLSVersion, messages: list[bytes], cuts: list[int], reads: list[int], end: str
) -> tuple[bytes, bytes]:
    """What the client got, and what the server got back. After another end, Python's `SSLSocket` cannot write."""
    with TlsServer(version) as server:
        client = server.connect(wrap)
        stream = server.records(*messages) + (server.goodbye() if end == "in order" else b"")
        if end == "within a record":
            stream = stream[:-1]
        got, back, echoed = bytearray(), bytearray(), 0
        at = turn = 0
        least = len(stream) // 500
        """A long stream is not cut into single bytes: that would take minutes."""
        is_over = False
        while not is_over:
            cut = least + cuts[turn % len(cuts)]
            server.sock.sendall(stream[at : at + cut])
            at += cut
            if at >= len(stream):
                server.sock.shutdown(socket.SHUT_WR)
            while (data := come(client, least + reads[turn % len(reads)])) is not None:
                turn += 1
                got += data
                if is_over := not data:
                    break
            turn += 1
            while end == "in order" and echoed < len(got):
                echoed += sent(client, bytes(got[echoed:])) or 0
                back += server.received()
        return bytes(got), bytes(back)


@FUZZ
@given(
    st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
    st.lists(st.integers(1, 300) | st.integers(1, 16_384), max_size=12).map(filled),
    st.lists(st.integers(1, 70) | st.integers(70, 70_000), min_size=1, max_size=5),
    st.lists(st.integers(1, 70) | st.integers(70, 1_000_000), min_size=1, max_size=5),
    st.sampled_from(["in order", "without a word", "within a record"]),
)
def test_fuzz_a_stream_of_records_is_read_as_python_reads_it(
    version: ssl.TLSVersion, messages: list[bytes], cuts: list[int], reads: list[int], end: str
) -> None:
    ours, theirs = (exchanged(wrap, version, messages, cuts, reads, end) for wrap in WRAPS.values())
    assert ours == theirs
    assert ours[0] == b"".join(messages[:-1] if end == "within a record" else messages)
    assert ours[1] == (ours[0] if end == "in order" else b"")
