"""The journal of an MQTT source: on disk, or in memory."""
