"""The fixtures that tests of schema registries share."""

from tests.protobuf_telemetry import classes, folder, full

__all__ = ["classes", "folder", "full"]
