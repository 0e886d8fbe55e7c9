"""Formats with a schema: Avro, Protobuf, JSON Schema."""
