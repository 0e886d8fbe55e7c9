"""The settings of each candidate.

`ours` has its defaults but for two: `max_delay: 1s`, since the tuned Telegraf flushes each second, and five requests a
second, since Telegraf knows no limit. `telegraf` is at-least-once (QoS 1, a persistent session) and has Telegraf's
defaults for the rest. `telegraf-tuned` has larger batches, and flushes each second; where each message has a clock of
its own, larger batches are beyond the 8 MiB that Clarify takes, and it has smaller ones.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.programs import telegraf
from tests.ports import free_port

OURS: Final = "ours"
TELEGRAF: Final = "telegraf"
TUNED: Final = "telegraf-tuned"
BARE: Final = "bare"
"""Kafka alone: a loop of consume(1000) and orjson.loads that stores nothing."""


@dataclass(frozen=True)
class Work:
    """Where the messages are."""

    folder: Path
    """For state and configuration."""
    credentials: Path
    port: int = 0
    """Of the MQTT broker; 0 for Kafka."""
    ca_file: Path | None = None
    """Of the MQTT broker, where it has TLS."""
    bootstrap: str = ""
    topic: str = ""
    own_clocks: bool = False
    """Whether each message has a time of its own."""


def command(name: str, work: Work) -> list[str]:
    """The command line of a candidate, with its configuration written."""
    if name == OURS:
        return [str(connector_program()), "run", str(_ours(work))]
    return [str(telegraf()), "--config", str(_telegraf(work, tuned=name == TUNED))]


def connector_program() -> Path:
    """`clarify-connector`, as it is installed beside this Python."""
    return Path(sys.executable).with_name("clarify-connector")


def _ours(work: Work) -> Path:
    if work.port:
        scheme, tls = ("mqtts", f", tls: {{ca_file: {work.ca_file}}}") if work.ca_file else ("mqtt", "")
        source = f"{{type: mqtt, url: '{scheme}://127.0.0.1:{work.port}', topics: ['plant/#'], client_id: peer{tls}}}"
    else:
        source = (
            f"{{type: kafka, bootstrap_servers: '{work.bootstrap}', topics: [{work.topic}], group_id: {work.topic}, "
            "security: plaintext}"
        )
    config = work.folder / "connector.yaml"
    config.write_text(
        f"clarify: {{credentials: {work.credentials}}}\nsources:\n  - {source}\nstate_dir: {work.folder}/state\n"
        f"observe: {{listen: '127.0.0.1:{free_port()}', log_level: warning}}\n"
        "delivery: {max_delay: 1s, requests_per_second: 5}\n"
    )
    return config


def _telegraf(work: Work, *, tuned: bool) -> Path:
    small = work.own_clocks
    undelivered = (1000 if small else 10_000) if tuned else 1000
    agent = f"""[agent]
  metric_batch_size = {500 if small else 5000}
  metric_buffer_limit = 100000
  flush_interval = "1s"
""" if tuned else "[agent]\n"  # fmt: skip
    if work.port:
        kind, tag = "mqtt_consumer", '\n  id_tags = ["topic"]'
        scheme, tls = ("ssl", f'  tls_ca = "{work.ca_file}"\n') if work.ca_file else ("tcp", "")
        source = f"""  servers = ["{scheme}://127.0.0.1:{work.port}"]
  topics = ["plant/#"]
  qos = 1
  persistent_session = true
  client_id = "peer"
{tls}"""
    else:
        kind, tag = "kafka_consumer", ""
        # The default version of the protocol, 0.10.2, is one that Kafka 4 does not know any more.
        source = f"""  brokers = ["{work.bootstrap}"]
  topics = ["{work.topic}"]
  consumer_group = "{work.topic}"
  kafka_version = "3.6.0"
"""
    config = work.folder / "telegraf.conf"
    config.write_text(f"""{agent}  omit_hostname = true
  quiet = true
[[outputs.clarify]]
  credentials_file = "{work.credentials}"{tag}
[[inputs.{kind}]]
{source}  max_undelivered_messages = {undelivered}
  data_format = "json"
  json_time_key = "ts"
  json_time_format = "unix_ms"
""")
    return config
