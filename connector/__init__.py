"""clarify-connector: carries MQTT and Kafka data into Clarify."""

__version__ = "0.1.0"
