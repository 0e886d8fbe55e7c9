"""Tables and progress bars for a person at a terminal.

Knows: clarify.
"""
