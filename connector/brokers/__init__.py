"""How a broker is reached: the same for a source and for a store of dead letters.

Knows: settings, records.
"""
