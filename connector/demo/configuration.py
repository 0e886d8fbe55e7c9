"""Writes the configuration file of the demo: `connector.yaml` beside this module, with the broker filled in."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

CONFIG_NAME: Final = "connector.yaml"
CREDENTIALS_NAME: Final = "credentials.json"
"""The name of the credentials file, which the configuration expects beside itself."""


_MQTT_SOURCE: Final = re.compile(r"  - type: mqtt\n(    .*\n)+")
_RULE: Final = re.compile(r"^    - topic: (plant/.*)$", re.MULTILINE)
_KAFKA_SOURCE: Final = """  - type: kafka
    name: plant
    bootstrap_servers: "@BROKER@"
    topics: [plant]
    group_id: demo
    security: plaintext # the embedded broker speaks nothing else
    librdkafka: { fetch.wait.max.ms: 10 } # the embedded broker answers only then
"""
_KAFKA_LAST_RULE: Final = """    # Every other message of the topic, by its key.
    - topic: plant
      key: "#"

"""


def write_configuration(folder: Path, broker_url: str, protocol: str | None) -> Path:
    """Write the configuration into `folder`; returns its path.

    `protocol` is the version of MQTT; None writes a configuration for Kafka. Kafka has one topic with all messages, and
    the key of a message is its MQTT topic.
    """
    text = files(__package__).joinpath(CONFIG_NAME).read_text(encoding="utf-8")
    if protocol is None:
        text = _MQTT_SOURCE.sub(_KAFKA_SOURCE, text, count=1)
        text = _RULE.sub(r"    - topic: plant\n      key: \1", text)
        text = text.replace("  # A message without", _KAFKA_LAST_RULE + "  # A message without", 1)
    path = folder / CONFIG_NAME
    path.write_text(text.replace("@BROKER@", broker_url).replace("@PROTOCOL@", protocol or ""), encoding="utf-8")
    return path
