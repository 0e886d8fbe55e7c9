"""Threads whose end and whose standing still are noticed.

Knows: nothing else.
"""
