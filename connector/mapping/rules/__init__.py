"""The rules of the mapping: their sections in the configuration, and their compiled form."""
