"""The binary formats without a schema: MessagePack, CBOR, fields at fixed places."""
