"""Schema registries with Confluent's interface: a client, and its copies of schemas on disk."""
