"""The configuration file: the model of all settings, the reader, and the reference that is generated from the model.

Knows: settings, formats, mapping, sources, delivery, dead_letters, terminal.text.
"""
