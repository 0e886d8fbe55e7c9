"""Saves the metadata of signals (name, unit, labels, …) and their items in Clarify, as the mapping wants them.

Knows: records, clarify, delivery, mapping, state, threads.
"""
