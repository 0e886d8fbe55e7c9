"""clarify-connector: carries MQTT and Kafka data into Clarify."""

__version__ = "0.1.0"


class ConnectorError(Exception):
    """Something is wrong that a person can mend; the text says what, and what to do.

    Commands print the text of such an error, and nothing else. Every other exception is a bug: commands print its
    traceback.
    """
