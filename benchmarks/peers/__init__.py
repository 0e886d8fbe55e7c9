"""`make peers`: the connector and Telegraf on the same work, one after the other, round by round.

Mosquitto and Apache Kafka are real. Clarify is `null_clarify.go`, which answers at once and counts. Each program runs
as its users run it: `clarify-connector run CONFIG`, and `telegraf --config CONFIG`. `scenarios.py` says what is
measured, `candidates.py` has the settings, and `goals.py` compares the medians with the goals.
"""
