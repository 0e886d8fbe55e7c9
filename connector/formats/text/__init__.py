"""Formats of text: JSON, NDJSON, CSV, line protocol, plain numbers."""
