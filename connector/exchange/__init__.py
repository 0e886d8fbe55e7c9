"""HTTP exchanges with bounds: on the time of the whole exchange, on the size of an answer, and on its codings.

Knows: nothing else.
"""
