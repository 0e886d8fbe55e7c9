"""Sparkplug B, heard by a passive host: topics and payloads → values, with the metadata that births give to them.

An edge node announces its metrics in a birth (NBIRTH; a DBIRTH for each device behind it): name, type, properties, and
mostly a number (alias) that stands for the name from then on. Later messages cannot be read without the birth, so
births are remembered over restarts.

- `host` reads one message after the other; `lifecycle` decides on births and deaths; `nodes` remembers them. No I/O and
  no clock.
- `rebirths` decides when a node should be asked to send its births again.
"""
