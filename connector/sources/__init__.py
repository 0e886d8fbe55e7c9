"""The sources: replayable logs of records. Every kind of source keeps the promises of `source.Source`.

Knows: settings, records, brokers, ledger, state, threads, mapping.time.
"""
