"""The commands that read from and write to Clarify directly: signals, items, publish, data-frame, insert."""
