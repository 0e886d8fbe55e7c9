"""The forecast of a loss with a real Kafka: nobody reads, the log is deleted behind us, and we say when it gets to us.

The source's clocks are moved by hand, five seconds at a look, as the watch looks; what the brokers say is real.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from connector.app import Connector
from connector.config import KafkaSection
from connector.config_file import load_config
from connector.observe.metrics import render
from connector.sources.kafka import KafkaSource
from connector.sources.log_file import LogFile
from tests.kafka_brokers import KafkaBroker, RealKafka, need_real
from tests.unit.scripted import Clock
from tests.waiting import wait_until
