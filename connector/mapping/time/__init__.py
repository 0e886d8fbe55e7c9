"""Times: reads times, measures the clocks of devices, and aligns times to grids."""
