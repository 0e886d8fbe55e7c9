"""Samples wait in tables, and leave them as frames: pure functions, no I/O, no clock.

Knows: records.
"""
