"""Threads whose unexpected end is noticed.

Knows: nothing else.
"""
