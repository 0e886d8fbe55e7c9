"""Keeps `rich` out of a process that does not use it.

structlog and httpx load `rich` wherever it is installed, for tracebacks and a command line that we do not use. It takes
5 MB of memory and a tenth of a second.
"""

from __future__ import annotations

import importlib
import sys


def load_without_rich(library: str) -> None:
    """Import a library that can do without `rich`. Does nothing if one of the two is loaded already."""
    if library not in sys.modules and "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]
        try:
            importlib.import_module(library)
        finally:
            del sys.modules["rich"]
