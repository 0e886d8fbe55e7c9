"""Sparkplug B, heard by a passive host: topics and payloads → values with the metadata of births.

An edge node announces its metrics in births: an NBIRTH for the node, and a DBIRTH for each device behind the node. A
birth has the name, the type and the properties of each metric, and usually a number (the alias) that later messages use
instead of the name. Later messages cannot be read without the birth, so births are remembered over restarts.

- `host` reads one message after the other; `lifecycle` decides on births and deaths; `nodes` remembers births and
  deaths. No I/O and no clock.
- `rebirths` decides when a node should be asked to send its births again.
"""
