"""The journal of an MQTT source: on disk (`disk` and its parts), or in memory (`memory`)."""
