"""A configuration that every command accepts, and the credentials beside it."""

from __future__ import annotations

from typing import Final

from tests.credentials import credentials
from tests.secrets_used import SETTING

CREDENTIALS: Final = credentials(secret=SETTING)
GOOD: Final = """\
clarify: {credentials: credentials.json}
sources:
  - {type: mqtt, url: "mqtt://127.0.0.1:1", topics: [x]}
state_dir: state
observe: {listen: null}
"""
