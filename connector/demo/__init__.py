"""The demo: a broker, a simulated plant, a local Clarify and the connector between them, to look at.

Knows: everything but commands.
"""
