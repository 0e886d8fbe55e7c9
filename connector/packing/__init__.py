"""Packing: samples wait in tables, and leave the tables as frames. No I/O; the time is an argument.

Knows: records.
"""
