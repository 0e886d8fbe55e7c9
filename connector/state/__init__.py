"""The connector's memory beside its journals, and the functions that open SQLite files.

Knows: records, formats.sparkplug, mapping.signals.
"""
