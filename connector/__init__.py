"""clarify-connector: carries MQTT data into Clarify."""

__version__ = "0.1.0"
