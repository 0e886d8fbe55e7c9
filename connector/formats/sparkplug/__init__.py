"""Sparkplug B, heard by a passive host: topics and payloads → values, with what the births said of them.

An edge node announces its metrics in a birth (NBIRTH; DBIRTH for each device behind it): name, type, properties, and
mostly a number (alias) that stands for the name from then on. What follows cannot be read without it, so births are
remembered over restarts (`memory`). `host` is the state machine, without I/O and without a clock of its own; `rebirths`
says when a node should be asked for its births again.
"""
