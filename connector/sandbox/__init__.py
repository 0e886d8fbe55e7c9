"""A local Clarify: the documented API with its limits, for development, tests and the demo.

Knows: nothing else.
"""
