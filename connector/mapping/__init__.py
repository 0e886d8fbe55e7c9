"""The mapping: documents → samples and metadata of signals, by topic patterns, rules, input IDs, times. No I/O.

Knows: settings, records, formats, clarify.limits, clarify.iso8601.
"""
