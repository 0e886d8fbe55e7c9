"""Measurements: ratios against a baseline in the same run, with the machine and the command."""
