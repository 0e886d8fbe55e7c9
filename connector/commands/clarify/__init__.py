"""Commands for people who look into Clarify: signals, items, publish, data-frame, insert."""
