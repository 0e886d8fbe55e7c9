"""Input IDs and metadata of signals."""
