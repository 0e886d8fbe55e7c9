"""Kafka: a member of a consumer group, or a range of a topic's records."""
