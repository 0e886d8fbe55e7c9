"""Delivery: sends frames to Clarify, with rate slots, retries, circuit breakers, and a search for bad data.

Knows: settings, records, clarify, packing, threads.
"""
