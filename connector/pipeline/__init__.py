"""The threads that carry data from the sources to Clarify, and how they meet.

Knows: records, formats, mapping, packing, ledger, delivery, dead_letters, sources.source, threads.
"""
