"""Pending columns, the planner and the frame: pure functions over columns, no I/O, no clock of its own."""
