"""Publishes the plant with QoS 1, in a process of its own: `python -m connector.demo.publisher --help`.

Every half second it writes a report, a line of JSON with the number of acknowledged messages. On SIGTERM it stops
publishing, waits for the open acknowledgements, and writes the number of acknowledged messages of each topic. The demo
compares the ledger with these numbers.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter, deque
from types import FrameType
from typing import Any, Final

import click
from paho.mqtt.client import Client, ConnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from connector.demo.plant import Message, Plant
from connector.terminal.text import say_json

_MOST_OPEN: Final = 1000
"""The bound for messages without an acknowledgement: at the bound, the plant waits instead of filling the memory."""
_REPORT_SECONDS: Final = 0.5
_CONNECT_SECONDS: Final = 30.0
_LAST_ACKS_SECONDS: Final = 5.0


class MqttPublisher:
    """A connection to the broker that counts the acknowledged messages."""

    def __init__(self, host: str, port: int, stop: threading.Event) -> None:
        self._stop = stop
        self._connected = threading.Event()
        self._topics: dict[int, str] = {}
        self._acknowledged_ids: deque[int] = deque()
        self._acknowledged: Counter[str] = Counter()
        self._sent = 0
        self._next_report = 0.0
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="demo-plant",
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=False,  # after a broken connection, open messages are sent again
        )
        self._client.max_inflight_messages_set(200)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.connect_async(host, port)

    def run(self, plant: Plant) -> None:
        """Publish each message at its due time until `stop` is set, then wait for the open acknowledgements.

        Raises ClickException if the broker accepts no connection, or if publishing fails.
        """
        self._client.loop_start()
        if not self._connected.wait(_CONNECT_SECONDS):
            raise click.ClickException("the broker did not accept the connection in time")
        for topic, payload in plant.nameplates:
            self._publish(Message(0, topic, payload), retain=True)
        started = time.monotonic()
        for message in plant.messages():
            if not self._wait_until(started + message.due) or not self._wait_for_room():
                break
            self._publish(message)
        deadline = time.monotonic() + _LAST_ACKS_SECONDS
        while self._open() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._report(last=True)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, message: Message, *, retain: bool = False) -> None:
        info = self._client.publish(message.topic, message.payload, qos=1, retain=retain)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            raise click.ClickException(f"publishing to {message.topic!r} failed: {info.rc!r}")
        self._topics[info.mid] = message.topic
        self._sent += 1

    def _wait_until(self, moment: float) -> bool:
        while (left := moment - time.monotonic()) > 0:
            self._report_if_due()
            if self._stop.wait(min(left, _REPORT_SECONDS)):
                return False
        self._report_if_due()
        return not self._stop.is_set()

    def _wait_for_room(self) -> bool:
        while self._open() >= _MOST_OPEN:
            self._report_if_due()
            if self._stop.wait(0.01):
                return False
        return True

    def _open(self) -> int:
        """The number of messages that are not acknowledged yet.

        Only this method counts acknowledgements, so they are counted in one thread.
        """
        while self._acknowledged_ids:
            self._acknowledged[self._topics.pop(self._acknowledged_ids.popleft())] += 1
        return len(self._topics)

    def _report_if_due(self) -> None:
        if time.monotonic() >= self._next_report:
            self._report()

    def _report(self, *, last: bool = False) -> None:
        self._next_report = time.monotonic() + _REPORT_SECONDS
        unacknowledged = self._open()
        report: dict[str, object] = {
            "connected": self._client.is_connected(),
            "published": self._acknowledged.total(),
            "unacknowledged": unacknowledged,
        }
        if last:
            report["topics"] = dict(self._acknowledged)
        say_json(report)

    # -- paho's callbacks, in its network thread --------------------------------------------------

    def _on_connect(
        self, _client: Client, _userdata: Any, _flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not reason.is_failure:
            self._connected.set()

    def _on_publish(
        self, _client: Client, _userdata: Any, mid: int, _reason: ReasonCode, _properties: Properties
    ) -> None:
        self._acknowledged_ids.append(mid)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The broker's host.")
@click.option("--port", type=int, required=True, help="The broker's port.")
@click.option("--machines", type=int, default=36, show_default=True, help="How many machines the plant has.")
@click.option("--rate", type=float, default=1.0, show_default=True, help="Messages a second of each machine.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same plant.")
def main(host: str, port: int, machines: int, rate: float, seed: int) -> None:
    """Publish the simulated plant until SIGTERM."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    MqttPublisher(host, port, stop).run(Plant(machines, rate, seed, time.time_ns() // 1000))


if __name__ == "__main__":
    main()
