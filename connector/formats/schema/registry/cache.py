"""Answers of a schema registry, kept on disk, one file each: the answer for an ID or a version never changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]")


class SchemaFiles:
    """A folder with the answers of one registry. Safe for several processes: each file is complete when it appears."""

    def __init__(self, folder: Path, name: str, urls: Sequence[str]) -> None:
        """Create the folder of the registry in `folder`. Raises `OSError` if the folder cannot be made.

        A registry with the same name at another address has a folder of its own, because its IDs mean other schemas.
        """
        digest = hashlib.sha256("\n".join(sorted(urls)).encode()).hexdigest()[:12]
        self._folder = folder / f"{name}-{digest}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> dict[str, Any] | None:
        """The answer that was kept under `key`; None if there is no answer, or if the file is damaged."""
        try:
            found = json.loads(self._path(key).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        answer = found.get("answer") if isinstance(found, dict) and found.get("key") == key else None
        return answer if isinstance(answer, dict) else None

    def write(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer under `key`; the content of the file is synced to disk. Raises `OSError`."""
        path = self._path(key)
        half = path.with_name(f"{path.name}.{os.getpid()}.new")
        with half.open("w", encoding="utf-8") as file:
            json.dump({"key": key, "answer": answer}, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()[:12]
        return self._folder / f"{_PLAIN.sub('_', key)[:80]}-{digest}.json"
