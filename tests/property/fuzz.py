"""How long to look: `FUZZ_EXAMPLES=100000 pytest tests/property -k fuzz` looks longer than a test run should."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

FUZZ: Final = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), deadline=None)
