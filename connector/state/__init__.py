"""What the connector remembers beside its journals, and how SQLite files are opened.

Knows: records, formats.sparkplug, mapping.signals.
"""
