"""A broker that floods the store of dead letters, which subscribes to nothing: the store leaves it, within bounds."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest

from connector.conformance.dead_letters import a_letter
from connector.dead_letters.broker_sections import MqttLettersSection
from connector.dead_letters.mqtt_store import MqttLetters
from connector.dead_letters.store import DeadLettersError
from tests.hostile import mqtt_broker
from tests.hostile.mqtt_broker import GoneError, HostileBroker, Session

FLOODS: dict[str, Callable[[int], bytes]] = {
    "messages of QoS 2": lambda n: mqtt_broker.publish(False, b"t", b"x" * 10_000, qos=2, mid=1 + n % 65_535),
    "messages of QoS 0": lambda n: mqtt_broker.publish(False, b"t", b"x" * 10_000, qos=0, mid=1 + n),
    "a packet of 256 MB": lambda n: b"\x90\xff\xff\xff\x7f" if n == 0 else b"x" * 10_000,
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_the_connection(flood: str) -> None:
    gone: list[int] = []

    def script(session: Session) -> None:
        session.accept()
        sent = 0
        try:
            for sent in range(30_000):
                session.send(FLOODS[flood](sent))
        except GoneError:
            gone.append(sent)
            raise

    with HostileBroker(script) as broker:
        section = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "topic": "letters", "timeout": "2s"}
        store = MqttLetters(MqttLettersSection.model_validate(section | {"protocol": "3.1.1"}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store.start()
        with pytest.raises(DeadLettersError):
            store.add([a_letter()])
        store.close()
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 64 * 1024 * 1024
    assert gone
