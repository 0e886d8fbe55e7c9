"""Servers that attack whoever connects: an HTTP server of raw sockets, and an MQTT broker."""
