"""Dead letters: durable copies of records and values that could not become samples, for a person to use later.

Knows: settings, records, formats, brokers, state, threads.
"""
