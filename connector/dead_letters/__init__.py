"""Dead letters: what could not become a sample, kept durably, and what a person can do with it later.

Knows: settings, records, brokers, state.
"""
