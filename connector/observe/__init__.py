"""What the connector says of itself: logs, metrics, health.

Knows: config, delivery, exchange, pipeline.tap, pipeline.traces, records, runtime, settings, terminal.text, threads.
"""
