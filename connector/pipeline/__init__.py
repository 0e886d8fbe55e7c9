"""The threads that carry data from the sources to Clarify, and the state that these threads share.

Knows: records, formats, mapping, packing, ledger, delivery, dead_letters, sources.source, threads.
"""
