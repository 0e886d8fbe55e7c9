"""Opens files that hold data of devices or secrets: for their owner alone, and never through a symbolic link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
"""Mode of such a file: its owner may read and write it, nobody else may do either."""
_OTHERS: Final = stat.S_IROTH
_ENTER: Final = stat.S_IXOTH


def open_private(path: Path, flags: int) -> int:
    """A descriptor of the file, which is created with mode 0600, whatever the umask, if `flags` create it.

    Whoever may write in the folder could put a symbolic link there, and have another file written. So a link is not
    followed. Raises OSError; for a link, its `strerror` says so.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        if error.errno == errno.ELOOP or path.is_symlink():
            raise OSError(
                errno.ELOOP, "it is a symbolic link, and such are not followed: put the file itself there", str(path)
            ) from None
        raise


def open_output(path: Path, flags: int) -> int:
    """A descriptor for writing a file that a person named: links are followed, and mode 0600 is set in any case."""
    descriptor = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        os.fchmod(descriptor, PRIVATE)
    return descriptor


def others_can_read(path: Path) -> bool:
    """Whether every local user can read the file: by its mode, and by the modes of all folders above it.

    False if the file cannot be examined.
    """
    try:
        real = path.resolve(strict=True)
        if not real.stat().st_mode & _OTHERS:
            return False
        return all(folder.stat().st_mode & _ENTER for folder in real.parents)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return False
