"""The commands for a mapping before any data is sent: preview, record, test, init."""
