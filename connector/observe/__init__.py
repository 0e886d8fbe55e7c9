"""What the connector says of itself: logs, metrics, health.

Knows: config, dead_letters, delivery, mapping.signals, pipeline.signals, records, runtime, settings, sources.source,
terminal.text, threads.
"""
