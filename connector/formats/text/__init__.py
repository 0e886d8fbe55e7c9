"""The text formats: JSON, NDJSON, CSV, line protocol, plain numbers."""
