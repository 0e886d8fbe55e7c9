"""What the connector says of itself: logs, metrics, health.

Knows: config, dead_letters, delivery, exchange, mapping.signals, packing.last_values, pipeline.signals, pipeline.tap,
pipeline.traces, records, runtime, settings, sources.source, terminal.text, threads, try_out.trial.
"""
