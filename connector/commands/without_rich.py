"""Keeps `rich` and Pygments out of a process that does not use them.

structlog and httpx load them wherever they are installed, for tracebacks and a command line that we do not use. They
take 6 MB of memory and a tenth of a second.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

_UNUSED: Final = ("rich", "pygments")


def load_without_rich(library: str) -> None:
    """Import a library that can do without `rich`. Does nothing if the library or `rich` is loaded already."""
    if library in sys.modules or any(unused in sys.modules for unused in _UNUSED):
        return
    sys.modules.update(dict.fromkeys(_UNUSED))  # type: ignore[arg-type]
    try:
        importlib.import_module(library)
    finally:
        for unused in _UNUSED:
            del sys.modules[unused]
