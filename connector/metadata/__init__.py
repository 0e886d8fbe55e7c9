"""Metadata of signals (name, unit, labels, …) and their items: what the mapping wants, and what Clarify has.

Knows: records, clarify, delivery, mapping, state.
"""
