"""The fixtures that tests of schemas share."""

from tests.protobuf_telemetry import classes, folder, full

__all__ = ["classes", "folder", "full"]
