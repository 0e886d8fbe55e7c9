"""The formats with a schema: Avro, Protobuf, JSON Schema."""
