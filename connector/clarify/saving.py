"""Saves metadata by key, in as many requests as the API needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from connector.clarify.answers import Response, read_answer
from connector.clarify.calls import Calls, ModelT, ProgressCallback
from connector.clarify.errors import ClarifyError
from connector.clarify.models import SignalInfo


@dataclass(frozen=True, slots=True)
class SaveMethod(Generic[ModelT]):
    """A method of the API that saves metadata by key."""

    name: str
    parameter: str
    """The name of the map of metadata, in the request and in the answer."""
    model: type[ModelT]
    most: int
    """The largest number of keys in one request."""


def save(
    calls: Calls,
    method: SaveMethod[ModelT],
    views: Mapping[str, SignalInfo],
    *,
    create_only: bool,
    integration: str | None,
    progress: ProgressCallback | None,
) -> Response[ModelT]:
    """Save the metadata in `views`, by key. If a request fails, `result` has the outcome of the earlier requests.

    Without `integration`, the metadata belongs to the integration of the credentials.
    """
    keys = list(views)
    found: dict[str, object] = {}
    for first in range(0, max(1, len(keys)), method.most):
        params = {
            "integration": integration or calls.integration,
            method.parameter: {key: views[key].to_wire() for key in keys[first : first + method.most]},
            "createOnly": create_only,
        }
        try:
            answer = calls.call(method.name, params)
            read_answer(method.model, answer, method.name)
        except ClarifyError as error:
            result = read_answer(method.model, {method.parameter: found}, method.name) if found else None
            return calls.response(result, error)
        part = answer[method.parameter]
        assert isinstance(part, dict)  # noqa: S101 - the model has checked the type
        found.update(part)
        if progress is not None:
            progress(min(first + method.most, len(keys)), len(keys))
    return calls.response(read_answer(method.model, {method.parameter: found}, method.name))
