"""Servers that break the rules on purpose, for tests and for `make chaos`."""
