"""The commands that show a mapping before anything is sent: preview, record, test, init."""
