"""The configuration file: what it may say, reading it, and the reference that is generated from it.

Knows: settings, formats, mapping, sources, delivery, dead_letters, terminal.text.
"""
