"""Whatever a broker sends: no exception, no hang, no growth; and each message that is taken was sent."""

from __future__ import annotations

import random
import socket
import time
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.ledger.source_file import SourceFile
from connector.sources.mqtt.arrivals import Received
from connector.sources.mqtt.bounded_client import BoundedClient
from connector.sources.mqtt.bulk import Bulk
from connector.sources.mqtt.connection import Connection, End
from connector.sources.mqtt.section import MqttSection
from connector.sources.mqtt.source import open_source
from tests.hostile.mqtt_broker import HostileBroker, Session, connack, number, packet, publish, suback, text, with_mid
from tests.property.fuzz import FUZZ
from tests.scripted import ScriptedHandover
from tests.waiting import wait_until

MIB = 1024 * 1024
TAKEN_OVER = b"\x8e"
SECTION = {"type": "mqtt", "url": "mqtt://127.0.0.1:1", "topics": ["t/#", "$share/g/s/+"], "client_id": "c"}

topics = st.sampled_from([b"t/1", b"t", b"s/1", b"other", b"t/+", b"t/\0", b"t/\xff", b"", b"t" * 300])
properties = st.lists(
    st.sampled_from(
        [
            *(b"\x26\0\1n\0\1v", b"\x01\1", b"\x02\0\0\0\1", b"\x03\0\1x", b"\x08\0\1x", b"\x09\0\1x", b"\x0b\x80\1"),
            *(b"\x23\0\1", b"\x26\0\1n\xff\xffv", b"\x13\0\0", b"\x21\0\1", b"\x11\0\0\0\1", b"\x1f\0\1r", b"\x7f"),
            *(b"\x24\2", b"\x27\0\0\0\0"),
        ]
    ),
    max_size=4,
).map(b"".join)
small = st.integers(0, 4)


def packets(v5: bool) -> st.SearchStrategy[bytes]:
    """Packets that a broker may send, and some that it must not."""
    return st.one_of(
        st.builds(
            lambda topic, payload, qos, mid, dup, extra: publish(
                v5, topic, payload, qos=qos, mid=mid, dup=dup, properties=extra
            ),
            topics, st.binary(max_size=50), st.sampled_from([0, 1, 1, 1, 2, 3]), small, st.booleans(), properties,
        ),
        st.builds(lambda code, present, extra: connack(v5, code, present=present, properties=extra),
                  st.sampled_from([0, 0, 1, 5, 0x7F, 0x80, 0x87]), st.booleans(), properties),
        st.builds(lambda mid, codes, extra: suback(v5, mid, codes, extra),
                  small, st.lists(st.sampled_from([0, 1, 2, 0x80, 0x7F]), max_size=4), properties),
        st.builds(with_mid, st.sampled_from([0x40, 0x50, 0x62, 0x60, 0x70, 0xB0]), small),
        st.builds(packet, st.integers(0, 255), st.binary(max_size=20)),
        st.builds(lambda length: b"\x30" + number(length) + text(b"t/1"), st.integers(0, 268_435_455)),
    )  # fmt: skip


PACKETS = {v5: st.lists(packets(v5) | st.binary(max_size=30), max_size=12) for v5 in (True, False)}


@st.composite
def streams(draw: st.DrawFn, v5: bool) -> bytes:
    """A valid beginning, mostly; then packets, of which some bytes are changed, taken out or put in."""
    stream = bytearray()
    if draw(st.integers(0, 9)):
        stream += connack(v5)
        if draw(st.integers(0, 3)):
            stream += suback(v5, 1, [1, 1])
    stream += b"".join(draw(PACKETS[v5]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(stream)))
        stream[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(stream[: draw(st.integers(0, len(stream)))] if draw(st.booleans()) else stream)


class Pieces:
    """A connection whose other side has sent these pieces and gone; each read gets one piece at most."""

    def __init__(self, pieces: Iterator[bytes], sock: socket.socket) -> None:
        self._pieces = pieces
        self._left = b""
        self._sock = sock
        self._pauses = False

    def recv(self, size: int) -> bytes:
        self._pauses = not self._pauses
        if self._pauses:
            raise BlockingIOError
        if not self._left:
            self._left = next(self._pieces, b"")
        data, self._left = self._left[:size], self._left[size:]
        return data

    def send(self, data: bytes) -> int:
        return len(data)

    def pending(self) -> int:
        return 1

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, _blocks: bool) -> None: ...

    def close(self) -> None:
        self._sock.close()


def cut(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        yield stream[at : at + size]
        at, turn = at + size, turn + 1


def played(
    stream: bytes,
    sizes: list[int],
    protocol: str,
    *,
    in_bulk: bool = True,
    acknowledged: bool = True,
    frames: bool = False,
) -> tuple[End, list[Received]]:
    """The end of a connection on which the broker sent this and left, and what was received.

    Without `in_bulk`, each message is read alone. With `frames`, each read brings one piece, as with websockets.
    """
    taken: list[Received] = []
    ours, theirs = socket.socketpair()
    theirs.close()

    class Fed(BoundedClient):
        def _create_socket(self) -> Any:
            return Pieces(cut(stream, sizes), ours)

        def read_messages(self, most_bytes: int, first_us: int) -> Bulk | None:
            self._transport = "websockets" if frames else "tcp"
            return super().read_messages(most_bytes, first_us) if in_bulk else None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("connector.sources.mqtt.handshake.BoundedClient", Fed)
        most = 3 if acknowledged else 65_535
        connection = Connection(
            MqttSection.model_validate(SECTION | {"protocol": protocol, "receive_maximum": most}),
            "c",
            remembered_filters=frozenset(),
            received=lambda _connection, received: taken.append(received),
            subscribed=lambda _connection, _filters: None,
            stale=lambda _acknowledgements: None,
        )

        def acknowledges() -> bool:
            if taken and acknowledged:
                connection.acknowledge(taken[-1].mids)
            return True

        return connection.run(may_read=acknowledges, stopping=lambda: False), taken


STREAMS = {"5": streams(True), "3.1.1": streams(False)}


@settings(FUZZ, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(["5", "3.1.1"]), st.lists(st.integers(1, 70), min_size=1, max_size=5))
def test_fuzz_a_broker_that_sends_anything(data: st.DataObject, protocol: str, sizes: list[int]) -> None:
    stream = data.draw(STREAMS[protocol])
    began = time.monotonic()
    tracemalloc.start()
    try:
        end, taken = played(stream, sizes, protocol)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 5
    assert peak < 4 * MIB
    assert end.message
    assert len(end.message) < 300
    for record in (record for received in taken for record in received.records):
        assert (record.payload or b"") in stream
        if not record.problem:
            assert record.topic.encode() in stream
            assert record.topic in ("t", "s/1") or record.topic.startswith("t/")


honest = st.builds(
    lambda topic, payload, qos, mid, dup, retain, extra: (topic, payload, qos, mid, dup, retain, extra),
    st.sampled_from([b"t/1", b"t", b"s/1", b"other", b"t/" + b"x" * 200]),
    st.binary(max_size=3) | st.integers(90, 20_000).map(bytes),
    st.sampled_from([0, 1, 1, 1]),
    st.integers(0, 65_535) | small,
    *(st.booleans(),) * 2,
    st.sampled_from([b"", b"\x26\0\1n\0\1v", b"\x03\0\1x\x26\0\1n\0\2vw", b"\x09\0\xc8" + b"c" * 200, b"\x7f"]),
)


def messages(v5: bool, drawn: list[Any]) -> bytes:
    stream = connack(v5) + suback(v5, 1, [1, 1])
    for topic, payload, qos, mid, dup, retain, extra in drawn:
        message = bytearray(publish(v5, topic, payload, qos=qos, mid=mid, dup=dup, properties=extra))
        message[0] |= retain
        stream += message
    return stream


def summary(end: End, taken: list[Received]) -> tuple[object, ...]:
    """What must be the same for both ways of reading. The times of arrival rise."""
    records = [record for received in taken for record in received.records]
    times = [record.time_us for record in records]
    assert all(one < next_ for one, next_ in pairwise(times))
    return (
        *(end, sum(received.unwanted for received in taken), sum(received.too_early for received in taken)),
        [mid for received in taken for mid in received.mids],
        [msgspec.structs.replace(record, time_us=0) for record in records],
    )


@settings(FUZZ, suppress_health_check=list(HealthCheck))
@given(
    st.data(),
    st.sampled_from(["5", "3.1.1"]),
    st.lists(st.integers(1, 70) | st.integers(70, 70_000), min_size=1, max_size=5),
)
def test_fuzz_messages_read_in_bulk_are_the_messages_read_one_by_one(
    data: st.DataObject, protocol: str, sizes: list[int]
) -> None:
    v5 = protocol == "5"
    stream = data.draw(st.lists(honest, max_size=30).map(lambda drawn: messages(v5, drawn)) | STREAMS[protocol])
    for _ in range(data.draw(st.integers(0, 1))):
        at = data.draw(st.integers(0, len(stream)))
        stream = stream[:at] + data.draw(st.binary(max_size=2)) + stream[at + data.draw(st.integers(0, 2)) :]
    frames = data.draw(st.booleans())
    in_bulk = summary(*played(stream, sizes, protocol, acknowledged=False, frames=frames))
    assert in_bulk == summary(*played(stream, sizes, protocol, in_bulk=False, acknowledged=False))


def mutated(chance: random.Random, v5: bool) -> bytes:
    stream = bytearray(connack(v5) + suback(v5, 1, [1]) + b"".join(publish(v5, b"t/bad", mid=i) for i in range(1, 9)))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(stream))
        stream[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    return bytes(stream).replace(TAKEN_OVER, b"\x8d")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_fuzz_an_honest_broker_is_served_after_a_hundred_hostile_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    for name in ("_FIRST_DELAY", "_LAST_DELAY", "_SILENT_PAUSE"):
        monkeypatch.setattr(f"connector.sources.mqtt.source.{name}", 0.01)
    chance = random.Random(7)

    def script(session: Session) -> None:
        if session.index < 100:
            session.wait_for(1)
            session.send(mutated(chance, session.v5))
            return
        session.begin()
        session.send(publish(session.v5, b"t/good", b"honest"))
        session.serve()

    with HostileBroker(script) as broker:
        url = f"mqtt://127.0.0.1:{broker.port}"
        section = MqttSection.model_validate(SECTION | {"url": url, "topics": ["t/#"], "protocol": protocol})
        source = open_source(section, SourceFile.open(tmp_path / "mqtt.sqlite"), MIB)
        source.start(ScriptedHandover())
        topics_taken: set[str] = set()

        def served() -> bool:
            chunk = source.poll(0.05)
            topics_taken.update(record.topic for record in chunk.records if not record.problem) if chunk else None
            return "t/good" in topics_taken

        wait_until(served, 60, lambda: f"the honest message: {source.problems()}, {topics_taken}")
        assert source.problems() == []
        assert source.ended() is None
        source.close(10)
