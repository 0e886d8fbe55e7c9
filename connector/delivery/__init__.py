"""Delivery: frames and metadata to Clarify; rate slots, retries, isolating bad data, dead letters."""
