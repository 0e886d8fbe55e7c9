"""clarify-connector: carries MQTT and Kafka data into Clarify."""

__version__ = "0.1.0"


class ConnectorError(Exception):
    """A fault that a person can mend; the text names the fault and the remedy.

    Commands print only the text of a `ConnectorError`. Every other exception is a bug: commands print the traceback.
    """
