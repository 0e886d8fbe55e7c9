"""What the connector says of itself: logs, metrics, health.

Knows: config, delivery, runtime, settings, terminal.text, threads.
"""
