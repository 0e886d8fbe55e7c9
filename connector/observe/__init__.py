"""What the connector says of itself: logs, metrics, health.

Knows: brokers.reach, config, dead_letters, delivery, exchange, ledger.account, mapping.signals, packing.last_values,
pipeline.signals, pipeline.tap, pipeline.traces, records, runtime, settings, sources.source, terminal.text, threads,
try_out.trial.
"""
