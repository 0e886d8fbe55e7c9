"""`make chaos`: everything fails, in an order of chance, and at the end nothing may be missing.

publishers ──▶ Mosquitto, Artemis, Kafka ──▶ proxies ──▶ connectors ──▶ proxies ──▶ sandbox
    └── truth (files) ──────────────────────────────── verdict ──────────────────────┘

schedule   seed → which fault begins when, for how long; pure
stage      what is running: brokers, sandbox, connectors, a proxy on every way between them
faults     how a fault is begun and lifted on that stage
proxy      TCP that can be cut, swallowed, slowed down, and broken in the middle of an answer
publish_*  publishers, in processes of their own; what they sent is the truth
evidence   what the sandbox, the dead letters and the ledgers say
damage     what a flipped bit in a journal may cost; retired: what a deleted topic may
verdict    truth against evidence; pure
run        a run from start to verdict
"""
