"""What the connector says of itself: logs, metrics, health.

Knows: config, dead_letters, delivery, mapping.signals, packing.last_values, pipeline.signals, records, runtime,
settings, sources.source, terminal.text, threads.
"""
