"""The Kafka source: a member of a consumer group, or a reader of a range of offsets."""
