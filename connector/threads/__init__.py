"""Watched threads: the connector notices if a thread ends unexpectedly or stands still.

Knows: nothing else.
"""
