"""MQTT: a broker's messages, made a log by a journal."""
