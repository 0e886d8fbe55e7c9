"""The command line: a file for each command.

Knows: everything but demo and sandbox.
"""
