"""Maps documents: finds the values in them, with their places and times."""
