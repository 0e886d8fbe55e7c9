"""A connector put together from its configuration: assembly, life cycle, workers, backfill, drain.

Knows: everything but commands, try_out, observe, demo and sandbox.
"""
