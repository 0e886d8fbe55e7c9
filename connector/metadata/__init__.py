"""Names, units and items of signals: what is wanted, what Clarify has, and who saves it.

Knows: records, clarify, delivery, mapping, state.
"""
