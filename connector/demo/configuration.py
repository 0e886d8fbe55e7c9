"""The configuration file that the demo writes: `connector.yaml` beside this file, with the broker filled in."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

CONFIG_NAME: Final = "connector.yaml"
CREDENTIALS_NAME: Final = "credentials.json"
"""Where the configuration expects the credentials: beside itself."""


def write_configuration(folder: Path, broker_url: str, protocol: str) -> Path:
    """Write the configuration into `folder`; returns its path."""
    text = files(__package__).joinpath(CONFIG_NAME).read_text(encoding="utf-8")
    path = folder / CONFIG_NAME
    path.write_text(text.replace("@BROKER@", broker_url).replace("@PROTOCOL@", protocol), encoding="utf-8")
    return path
