"""Preview, record, test and init: show the effect of a mapping before anything is sent. Nothing is written to Clarify.

Knows: everything but commands, observe, demo, sandbox, pipeline and delivery.
"""
