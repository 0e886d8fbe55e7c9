"""Everything that an error says, for tests that look for a secret in it."""

from __future__ import annotations

import traceback


def everything_said(error: BaseException | None) -> str:
    """Text, repr, attributes and traceback of the error and of all that is chained to it, hidden or not."""
    said = ""
    while error is not None:
        said += "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
        error = error.__cause__ or error.__context__
    return said
