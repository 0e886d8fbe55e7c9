"""The input IDs and metadata of signals, and the guard against too many signals."""
