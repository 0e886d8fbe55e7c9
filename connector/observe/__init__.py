"""What the connector says of itself: logs, metrics, health.

Knows: config, delivery, pipeline.tap, records, runtime, settings, terminal.text, threads.
"""
