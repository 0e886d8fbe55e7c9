"""Selects signals and items, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from connector.clarify import paging
from connector.clarify.answers import ItemSelection, Response, SignalSelection
from connector.clarify.calls import AS_LIST, Calls, ProgressCallback
from connector.clarify.gathering import gather
from connector.clarify.limits import SELECTED_RESOURCES
from connector.clarify.selection import Selection

PageT = TypeVar("PageT", SignalSelection, ItemSelection)


@dataclass(frozen=True, slots=True)
class ResourceKind(Generic[PageT]):
    """A kind of resource: the method for selecting, and the model of the method's answer."""

    method: str
    model: type[PageT]


SIGNALS: Final = ResourceKind("admin.selectSignals", SignalSelection)
ITEMS: Final = ResourceKind("clarify.selectItems", ItemSelection)


class Selector:
    """Selects the resources of a `Selection`, in pages of at most 1,000."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def select(
        self,
        kind: ResourceKind[PageT],
        selection: Selection,
        more: Mapping[str, object],
        progress: ProgressCallback | None,
    ) -> Response[PageT]:
        """All pages as one response. If a page fails, `result` has the pages before it.

        `more` has the parameters that only this kind of resource takes.
        """
        found = gather(self.pages(kind, selection, more, progress))
        if found.is_nothing:
            return self._calls.response(None, found.failure)
        data: list[Any] = [resource for page in found.parts for resource in page.data]
        return self._calls.response(kind.model(meta=found.meta, data=data, included=found.included), found.failure)

    def pages(
        self,
        kind: ResourceKind[PageT],
        selection: Selection,
        more: Mapping[str, object],
        progress: ProgressCallback | None,
    ) -> Iterator[PageT]:
        """The pages one after another. Raises ClarifyError if a page cannot be fetched."""
        done = 0
        skip, limit = selection.bounds()
        pages = paging.pages(skip, limit, SELECTED_RESOURCES) if limit != 0 else iter([(skip, 0)])
        for page_skip, size in pages:
            params = {
                **more,
                "query": selection.query(page_skip, size),
                "include": selection.included(),
                "format": AS_LIST,
            }
            page = self._calls.read(kind.model, kind.method, params)
            yield page
            done += len(page.data)
            ended = len(page.data) < size
            if progress is not None:
                progress(done, done if ended or done == limit else None)
            if ended:
                return

    def any_item(self, selection: Selection, skip: int) -> bool:
        """Whether the selection has an item after the first `skip` items. Raises ClarifyError if the call fails."""
        one = Selection(selection.filter, sort=selection.sort)
        params: dict[str, object] = {"query": one.query(skip, 1), "include": [], "format": AS_LIST}
        return bool(self._calls.read(ITEMS.model, ITEMS.method, params).data)
