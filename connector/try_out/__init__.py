"""Seeing what a mapping does before anything is sent: preview, record, test and init. Writes nothing to Clarify.

Knows: everything but commands, observe, demo, sandbox, pipeline and delivery.
"""
