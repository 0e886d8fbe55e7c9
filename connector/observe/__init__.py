"""What the connector says of itself: logs, metrics, health.

Knows: config, delivery, pipeline.tap, runtime, settings, terminal.text, threads.
"""
