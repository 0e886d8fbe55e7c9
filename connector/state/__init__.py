"""What is remembered beside the journals, and how SQLite files are opened.

Knows: records, formats.sparkplug, mapping.signals.
"""
