"""The commands on dead letters: list, show, replay, drop."""
