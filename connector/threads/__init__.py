"""Threads whose unforeseen end is noticed.

Knows: nothing else.
"""
