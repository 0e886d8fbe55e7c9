"""What the connector says of itself: logs, metrics, health.

Knows: config, delivery, records, runtime, settings, terminal.text, threads.
"""
