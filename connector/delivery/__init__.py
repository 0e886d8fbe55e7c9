"""Frames leave for Clarify: rate slots, retries, circuit breakers, isolating bad data.

Knows: settings, records, clarify, packing, threads.
"""
