"""Connections to brokers: the code that a source and a store of dead letters share.

Knows: settings, records.
"""
