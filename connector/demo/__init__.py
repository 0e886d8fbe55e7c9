"""The demo: a broker, a simulated plant, a local Clarify, and the connector between the broker and Clarify.

Knows: everything but commands.
"""
