"""A schema registry with Confluent's interface: its client, and the schemas that it keeps on disk."""
