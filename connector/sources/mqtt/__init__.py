"""MQTT: the messages of a broker, which a journal turns into a log."""
