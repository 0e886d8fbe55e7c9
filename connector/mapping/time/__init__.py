"""Times: reading them, clocks that are wrong, grids."""
