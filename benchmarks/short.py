"""Ratios of two works in one process, in a few seconds: a slower commit is seen here first.

`python -m benchmarks.short` prints them. The works take turns, and each counts with its best turn of CPU time; so noise
of the machine reaches the ratios least. `tests/unit/tools/test_ratios.py` holds each with a wide margin.
"""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable
from typing import Final

import orjson
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from connector.packing.encoder import time_texts
from connector.packing.frame import RowBlock, encode_frame
from connector.sources.mqtt.connection import Connection, Received
from connector.sources.mqtt.section import MqttSection
from tests.hostile.mqtt_broker import DISCONNECT, HostileBroker, Session, packet, publish

_MESSAGES: Final = 10_000
_TURNS: Final = 3
_DEVICES: Final = 200
_ROWS: Final = 1000
_START: Final = 1_777_615_200_000_000


def intake() -> float:
    """CPU of paho for a message of QoS 1, divided by ours: the same bytes, over a socket, all acknowledged."""
    topics = [b"plant/line%d/m%d" % (n % 10, n) for n in range(_DEVICES)]
    body = b'{"ts": 1780000000000, "temp": 21.5, "hum": 40.1, "pressure": 1003.5, "rpm": 1480}'
    stream = b"".join(publish(True, topics[i % _DEVICES], body, mid=i + 1) for i in range(_MESSAGES))

    def script(session: Session) -> None:
        session.begin()
        session.send(stream)
        session.send(packet(DISCONNECT << 4, b"\x8b"))
        session.wait_closed()

    with HostileBroker(script) as broker:
        paho, ours = _best(lambda: _with_paho(broker.port), lambda: _with_ours(broker.port))
    return paho / ours


def dense_frame() -> float:
    """CPU of writing a frame in which each cell has a value, divided by `orjson.dumps` of the same lists."""
    times = array("q", range(_START, _START + _ROWS * 1_000_000, 1_000_000))
    blocks = [
        RowBlock(
            tuple(f"plant/m{device}/{value}" for value in range(4)),
            times,
            array("q", range(_ROWS)),
            array("d", [20 + (device + n) % 977 / 100 for n in range(4 * _ROWS)]),
        )
        for device in range(_DEVICES)
    ]
    return _frame(blocks)


def sparse_frame() -> float:
    """The same where each device has times of its own, so that one cell of 200 has a value."""
    blocks = [
        RowBlock(
            tuple(f"plant/m{device}/{value}" for value in range(4)),
            array("q", range(_START + device * 1000, _START + device * 1000 + 5_000_000, 1_000_000)),
            array("q", range(5)),
            array("d", [20 + (device + n) % 977 / 100 for n in range(20)]),
        )
        for device in range(_DEVICES)
    ]
    return _frame(blocks)


def measure() -> dict[str, float]:
    """All ratios, by name."""
    return {work.__name__: round(work(), 2) for work in (intake, dense_frame, sparse_frame)}


def _best(*works: Callable[[], float]) -> list[float]:
    turns = [[work() for work in works] for _ in range(_TURNS)]
    return [min(times) for times in zip(*turns, strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _with_paho(port: int) -> float:
    seen: list[bytes | bytearray] = []
    client = Client(CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion.MQTTv5)

    def on_connect(*_: object) -> None:
        client.subscribe("plant/#", qos=1)

    def on_disconnect(*_: object) -> None:
        client.disconnect()  # no second connection

    client.on_connect, client.on_disconnect = on_connect, on_disconnect
    client.on_message = lambda _client, _userdata, message: seen.append(message.payload)

    def read() -> None:
        client.connect("127.0.0.1", port)
        client.loop_forever()

    return _all(_seconds(read), len(seen))


def _with_ours(port: int) -> float:
    seen = 0

    def received(connection: Connection, messages: Received) -> None:
        nonlocal seen
        seen += len(messages.records)
        connection.acknowledge(messages.mids)

    connection = Connection(
        MqttSection.model_validate({"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}", "topics": ["plant/#"]}),
        "c",
        remembered_filters=frozenset(),
        received=received,
        subscribed=lambda _connection, _filters: None,
        stale=lambda _count: None,
    )
    used = _seconds(lambda: connection.run(may_read=lambda: True, stopping=lambda: False))
    return _all(used, seen)


def _all(used: float, seen: int) -> float:
    assert seen == _MESSAGES, f"{seen} of {_MESSAGES} messages were read"
    return used


def _frame(blocks: list[RowBlock]) -> float:
    """`encode_frame` against `orjson.dumps` of the lists that the frame consists of."""
    times = sorted({time_us for block in blocks for time_us in block.times})
    row_of = {time_us: row for row, time_us in enumerate(times)}
    series: dict[str, list[float | None]] = {}
    for block in blocks:
        for place, name in enumerate(block.inputs):
            series[name] = [None] * len(times)
            for time_us, value in zip(block.times, block.values[place :: len(block.inputs)], strict=True):
                series[name][row_of[time_us]] = value
    lists = {"times": time_texts(times), "series": series}
    assert orjson.loads(encode_frame(blocks).body) == lists
    ours, bare = _best(lambda: _seconds(lambda: encode_frame(blocks)), lambda: _seconds(lambda: orjson.dumps(lists)))
    return ours / bare


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
