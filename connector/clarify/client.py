"""The Clarify client for people: every method of the API, with the signatures of Clarify's own Python client.

    client = Client("clarify-credentials.json")
    client.insert({"times": ["2026-05-01T06:00:00Z"], "series": {"boiler/pressure": [4.1]}}).raise_for_error()

Each method returns a `Response` with `result` or `error`. What is wrong with the arguments is a ValueError before
anything is sent. Calls wait for their turn (the documented rates), are repeated where that may help, and are split
where one request may not carry them: see `Client`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx

from connector.clarify import arguments, paging
from connector.clarify.answers import (
    AnswerModel,
    DataSelection,
    Included,
    InsertResponse,
    ItemResource,
    ItemSelection,
    PublishSignalsResponse,
    Response,
    SaveSignalsResponse,
    SelectionMeta,
    SignalResource,
    SignalSelection,
    read_answer,
)
from connector.clarify.api import Api
from connector.clarify.arguments import QueryFilter
from connector.clarify.credentials import Credentials, CredentialsSource
from connector.clarify.data_frame import DataFrame, as_data_frame
from connector.clarify.errors import ClarifyError, TooLarge
from connector.clarify.iso8601 import Instant
from connector.clarify.limits import (
    API_VERSION,
    CALCULATIONS,
    DATA_FRAME_ITEMS,
    EVALUATED_ITEMS,
    PUBLISHED_SIGNALS,
    REQUEST_BYTES,
    SELECTED_RESOURCES,
)
from connector.clarify.models import (
    Calculation,
    GroupAggregation,
    Item,
    ItemAggregation,
    ItemInfo,
    Signal,
    SignalInfo,
    check_input_id,
    check_resource_id,
)
from connector.clarify.pacing import Pacing, Retries, documented_rates
from connector.clarify.splitting import split
from connector.clarify.transport import Timeouts
from connector.clarify.versions import CONNECTING, ApiVersionError, adapted, read_version

Progress = Callable[[int, int | None], object]
"""Called after each part of a long call: how much is done, and of how much, None if that is not known."""

_INSERT: Final = "integration.insert"
_SAVE: Final = "integration.saveSignals"
_SELECT_SIGNALS: Final = "admin.selectSignals"
_PUBLISH: Final = "admin.publishSignals"
_CONNECT: Final = "admin.signals.connect"
_DISCONNECT: Final = "admin.signals.disconnect"
_SELECT_ITEMS: Final = "clarify.selectItems"
_DATA_FRAME: Final = "clarify.dataFrame"
_EVALUATE: Final = "clarify.evaluate"
_AS_LIST: Final = {"dataAsArray": True, "groupIncludedByType": True}
_AS_FRAME: Final = {"dataAsArray": False, "groupIncludedByType": True}
_SAVED_SIGNALS: Final = 500
_OK: Final = 200
_FIRST_ENVELOPE: Final = 1024
"""Bytes around the data of an insert: its method, its ID and the integration's."""

ModelT = TypeVar("ModelT", bound=AnswerModel)


class Client:
    """A client for one integration. Safe for several threads; no network until the first call.

    clarify_credentials
        Path of a credentials file, its text, or a dict of it; OAuth 2.0 and basic authentication.
    api_version
        `1.1`, or `1.2` for groups in `evaluate`, `connect_signals` and `disconnect_signals`; also its pre-releases,
        such as `1.2beta1`.
    timeout
        Bounds for connecting, reading and writing, in seconds.
    retries
        How often a call is repeated when that may help (time-outs, connections, 5xx, 429, "try again"), with a
        back-off; `NO_RETRIES` for never. Repeating a write is safe: the same values come to the same places.
    rates
        Calls a second by method; None for no limit. By default what Clarify documents, 1 to 10 a second: more
        would only wait at the server, and time out there.
    verify
        A CA file to trust instead of the usual authorities.
    max_request_bytes
        What an insert is split at, 8 MiB as documented.
    user_agent
        How the program presents itself to Clarify.
    transport, clock, sleep, now
        Take the place of the network and of time, for tests.

    CredentialsError and ValueError say what cannot be used.

    >>> with Client("clarify-credentials.json") as client: client.select_items().raise_for_error()
    """

    def __init__(
        self,
        clarify_credentials: Credentials | CredentialsSource,
        api_version: str | None = None,
        *,
        timeout: Timeouts | None = None,
        retries: Retries | None = None,
        rates: Mapping[str, float] | None = documented_rates(),
        verify: str | os.PathLike[str] | None = None,
        transport: httpx.BaseTransport | None = None,
        max_request_bytes: int = REQUEST_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], datetime] = paging.utc_now,
        user_agent: str = "clarify-connector",
    ) -> None:
        self.api_version = API_VERSION if api_version is None else api_version
        self._version = read_version(self.api_version)
        self._api = Api(
            clarify_credentials,
            api_version=self.api_version,
            timeout=timeout,
            transport=transport,
            verify=verify,
            clock=clock,
            user_agent=user_agent,
        )
        self._pacing = Pacing(rates, retries or Retries(), clock=clock, sleep=sleep)
        self._most_bytes = max_request_bytes - _FIRST_ENVELOPE
        self._now = now
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def integration(self) -> str:
        """The ID of the integration whose credentials these are."""
        return self._api.integration

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._api).replace("Api(", "Client(", 1)

    # -- writing ----------------------------------------------------------------------------------

    def insert(self, data: object, *, progress: Progress | None = None) -> Response[InsertResponse]:
        """Write values to signals, which come into being as needed. API: integration.insert.

        data
            A DataFrame, a dict ({"times": [...], "series": {...}} or columns), or a pandas DataFrame or Series. What
            is larger than one request (8 MiB) is sent in several, one a second.
        progress
            Called after each request with the number of times sent and of all.

        Returns a Response with `result.signals_by_input[input_id]` (`id`, `created`). If a request fails, those after
        it are not sent; `result` then has what was written before, and the same insert can be repeated.

        >>> client.insert(DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]}))
        """
        frame = as_data_frame(data)
        found: dict[str, Any] = {}
        done = 0
        try:
            for rows, encoded in split(frame, self._most_bytes):
                summary = self._pacing.run(_INSERT, lambda body=encoded: self._api.insert_encoded(body))  # type: ignore[misc]
                for key, state in summary.signals_by_input.items():
                    created = state.created or (key in found and found[key]["created"])
                    found[key] = {"id": state.id, "created": created}
                done = min(done + rows, len(frame))
                if progress is not None:
                    progress(done, len(frame))
        except ClarifyError as error:
            result = InsertResponse(signals_by_input=found) if found else None
            return self._response(result).with_error(error)
        return self._response(InsertResponse(signals_by_input=found))

    def save_signals(
        self,
        input_ids: Sequence[str] | Mapping[str, SignalInfo | Mapping[str, object]] = (),
        signals: Sequence[SignalInfo | Mapping[str, object]] = (),
        signals_by_input: Mapping[str, SignalInfo | Mapping[str, object]] | None = None,
        create_only: bool = False,
        integration: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Response[SaveSignalsResponse]:
        """Save the metadata of signals, which come into being as needed. API: integration.saveSignals.

        input_ids, signals
            Two lists of one length; or
        signals_by_input
            input ID → Signal, or a dict of its fields. Metadata is complete: what is left out is reset, except for
            annotations, which are merged.
        create_only
            Leave signals alone that exist.

        Returns a Response with `result.signals_by_input[input_id]` (`id`, `created`, `updated`). More than 500 signals
        are saved by several requests.

        >>> client.save_signals(["boiler/pressure"], [Signal(name="Boiler pressure", eng_unit="bar")])
        >>> client.save_signals(signals_by_input={"boiler/pressure": Signal(name="Boiler pressure")})
        """
        if isinstance(input_ids, Mapping):
            signals_by_input = {**input_ids, **(signals_by_input or {})}
            input_ids = ()
        views = arguments.views(Signal, check_input_id, "input_ids", "signals", input_ids, signals, signals_by_input)
        return self._save(
            _SAVE, "signalsByInput", SaveSignalsResponse, views, create_only, integration, _SAVED_SIGNALS, progress
        )

    def publish_signals(
        self,
        signal_ids: Sequence[str] | Mapping[str, ItemInfo | Mapping[str, object]] = (),
        items: Sequence[ItemInfo | Mapping[str, object]] = (),
        items_by_signal: Mapping[str, ItemInfo | Mapping[str, object]] | None = None,
        create_only: bool = False,
        integration: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Response[PublishSignalsResponse]:
        """Publish signals as items, or update the items they are published as. API: admin.publishSignals.

        signal_ids, items
            Two lists of one length; or
        items_by_signal
            signal ID → Item, or a dict of its fields. Metadata is complete: what is left out is reset, except for
            annotations, which are merged. Items are hidden unless `visible` is True.
        create_only
            Leave items alone that exist.

        Returns a Response with `result.items_by_signal[signal_id]` (`id` of the item, `created`, `updated`). The
        integration needs access to the admin namespace.

        >>> client.publish_signals(["cq3t8v5e1k7n4m0r2s6g"], [Item(name="Boiler pressure", visible=True)])
        """
        if isinstance(signal_ids, Mapping):
            items_by_signal = {**signal_ids, **(items_by_signal or {})}
            signal_ids = ()
        views = arguments.views(Item, check_resource_id, "signal_ids", "items", signal_ids, items, items_by_signal)
        return self._save(
            _PUBLISH,
            "itemsBySignal",
            PublishSignalsResponse,
            views,
            create_only,
            integration,
            PUBLISHED_SIGNALS,
            progress,
        )

    def _save(
        self,
        method: str,
        parameter: str,
        model: type[ModelT],
        views: Mapping[str, SignalInfo],
        create_only: bool,
        integration: str | None,
        most: int,
        progress: Progress | None,
    ) -> Response[ModelT]:
        keys = list(views)
        found: dict[str, object] = {}
        for first in range(0, max(1, len(keys)), most):
            params = {
                "integration": integration or self.integration,
                parameter: {key: views[key].to_wire() for key in keys[first : first + most]},
                "createOnly": create_only,
            }
            try:
                answer = self._call(method, params)
                read_answer(model, answer, method)
            except ClarifyError as error:
                result = read_answer(model, {parameter: found}, method) if found else None
                return self._response(result).with_error(error)
            part = answer[parameter]
            assert isinstance(part, dict)  # noqa: S101 - the model has said so
            found.update(part)
            if progress is not None:
                progress(min(first + most, len(keys)), len(keys))
        return self._response(read_answer(model, {parameter: found}, method))

    # -- selecting --------------------------------------------------------------------------------

    def select_signals(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = (),
        total: bool = False,
        include: Sequence[str] = (),
        integration: str | None = None,
        *,
        progress: Progress | None = None,
    ) -> Response[SignalSelection]:
        """Signals of the integration, with their metadata. API: admin.selectSignals.

        filter
            A Filter, or the dict of a query. Nothing: all signals.
        skip, limit
            Which of those that match; without a limit (None) all. More than 1,000 are fetched page by page.
        sort
            Field paths, with a `-` before them for the other direction, such as `["-createdAt"]`.
        total
            Count all that match, into `result.meta.total`.
        include
            `["item"]` adds the items that the signals are published as, to `result.included.items`.
        progress
            Called after each page with the number so far, and of all once that is known.

        Returns a Response with `result.data`, a list of resources (`id`, `attributes`, `meta`, `relationships`).

        >>> client.select_signals(filter=query.Filter(fields={"name": query.Regex(value="^Boiler")}))
        """
        more = {"integration": integration or self.integration}
        return self._select(_SELECT_SIGNALS, SignalSelection, filter, skip, limit, sort, total, include, more, progress)

    def select_items(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        include: Sequence[str] = (),
        skip: int = 0,
        limit: int | None = 10,
        sort: Sequence[str] = (),
        total: bool = False,
        *,
        progress: Progress | None = None,
    ) -> Response[ItemSelection]:
        """Items of the organisation that the integration may see, with their metadata. API: clarify.selectItems.

        The arguments are those of `select_signals`. The integration needs access to the clarify namespace.

        >>> client.select_items(filter=query.Filter(fields={"labels.type": query.Equal(value="pump")}), limit=100)
        """
        return self._select(_SELECT_ITEMS, ItemSelection, filter, skip, limit, sort, total, include, {}, progress)

    def iter_signals(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        sort: Sequence[str] = (),
        include: Sequence[str] = (),
        *,
        skip: int = 0,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[SignalResource]:
        """Signals one after another, fetched by 1,000; raises ClarifyError if a page cannot be had.

        `progress` is called after each page with the number so far, and of all once that is known.

        >>> for signal in client.iter_signals(): print(signal.attributes.name)
        """
        more = {"integration": self.integration}
        for page in self._pages(
            _SELECT_SIGNALS, SignalSelection, filter, skip, limit, sort, False, include, more, progress
        ):
            yield from page.data

    def iter_items(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        sort: Sequence[str] = (),
        include: Sequence[str] = (),
        *,
        skip: int = 0,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[ItemResource]:
        """Items one after another, fetched by 1,000; as `iter_signals`."""
        for page in self._pages(_SELECT_ITEMS, ItemSelection, filter, skip, limit, sort, False, include, {}, progress):
            yield from page.data

    # -- connecting, API 1.2 ----------------------------------------------------------------------

    def connect_signals(
        self,
        item: str,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = (),
        total: bool = False,
        include: Sequence[str] = (),
        dry_run: bool = False,
        integration: str | None = None,
    ) -> Response[SignalSelection]:
        """Connect signals to an item, so that it shows their data. API 1.2: admin.signals.connect.

        item
            The item's ID. Where the data of several signals overlaps, that of the newest one counts.
        dry_run
            Only say which signals it would be.

        The other arguments are those of `select_signals`: **without a filter all signals are meant**, up to the
        limit. Returns the signals that are affected. ApiVersionError below API 1.2.
        """
        more = {"item": check_resource_id(item)}
        return self._connect(_CONNECT, filter, skip, limit, sort, total, include, dry_run, integration, more)

    def disconnect_signals(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = (),
        total: bool = False,
        include: Sequence[str] = (),
        dry_run: bool = False,
        integration: str | None = None,
    ) -> Response[SignalSelection]:
        """Take signals away from their items. API 1.2: admin.signals.disconnect. As `connect_signals`."""
        return self._connect(_DISCONNECT, filter, skip, limit, sort, total, include, dry_run, integration, {})

    def _connect(
        self,
        method: str,
        filter: QueryFilter | None,  # noqa: A002 - the API's name
        skip: int,
        limit: int | None,
        sort: Sequence[str],
        total: bool,
        include: Sequence[str],
        dry_run: bool,
        integration: str | None,
        more: Mapping[str, object],
    ) -> Response[SignalSelection]:
        self._need_1_2(method)
        skip, limit = arguments.page(skip, limit)
        most = SELECTED_RESOURCES if limit is None else limit
        params = {
            "integration": integration or self.integration,
            **more,
            "query": arguments.resource_query(filter, sort, skip, most, total=total),
            "dryRun": dry_run,
            "include": arguments.texts("include", include),
            "format": _AS_LIST,
        }
        try:
            return self._response(read_answer(SignalSelection, self._call(method, params), method))
        except ClarifyError as error:
            return self._failed(error)

    # -- reading data -----------------------------------------------------------------------------

    def data_frame(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        sort: Sequence[str] = (),
        limit: int | None = 20,
        skip: int = 0,
        total: bool = False,
        gte: Instant | None = None,
        lt: Instant | None = None,
        rollup: str | timedelta | None = None,
        timeZone: str | None = "UTC",  # noqa: N803 - the name in Clarify's own client
        firstDayOfWeek: int | None = 1,  # noqa: N803
        origin: Instant | None = None,
        last: int = -1,
        include: Sequence[str] = (),
        window_size: str | timedelta | None = None,
        *,
        series: Sequence[str] = (),
        outsidePoints: bool = False,  # noqa: N803
        progress: Progress | None = None,
    ) -> Response[DataSelection]:
        """The data of items. API: clarify.dataFrame.

        filter, sort, limit, skip, total
            Which items, as in `select_items`. More than 50 are fetched page by page.
        gte, lt
            From when (inclusive) to when (exclusive); without both, a week back and a week ahead; with one of them,
            40 days. Longer windows than the API allows (40 days, 400 for rollups of a minute, more for longer ones),
            and answers of over 64 MiB, are fetched piece by piece.
        rollup
            A duration such as `PT5M`, months such as `P1M`, or `window` for one bucket. Each numeric item then becomes
            the series `<item>_count`, `_min`, `_max`, `_sum` and `_avg`; an item with states the seconds in each state.
        timeZone
            Whose midnight and months buckets follow, such as `Europe/Oslo`.
        firstDayOfWeek, origin
            Where buckets are counted from: 1 (Monday) to 7, or a time, which wins.
        last
            Only the last so many values of each series, if over 0.
        include
            `["item"]` adds the items, to `result.included.items`.
        window_size
            Shorter windows than the API allows, where data is dense.
        series
            Only these series of the answer.
        outsidePoints
            Also the last value before the window and the first one after it.
        progress
            Called after each piece with the number of pieces done; of how many is known while items are not paged.

        Returns a Response with `result.data`, a DataFrame; `result.data.to_pandas()` for pandas. If a piece fails,
        `result` has what came before it.

        >>> response = client.data_frame(filter={"name": "Boiler pressure"}, gte="2026-05-01T00:00:00Z", rollup="PT1H")
        >>> response.raise_for_error().result.data.to_pandas()
        """
        pieces = self.iter_data_frames(
            filter, sort, limit, skip, total, gte, lt, rollup, timeZone, firstDayOfWeek, origin, last, include,
            window_size, series=series, outsidePoints=outsidePoints, progress=progress,
        )  # fmt: skip
        return self._gather(pieces, last)

    def iter_data_frames(
        self,
        filter: QueryFilter | None = None,  # noqa: A002 - the API's name
        sort: Sequence[str] = (),
        limit: int | None = None,
        skip: int = 0,
        total: bool = False,
        gte: Instant | None = None,
        lt: Instant | None = None,
        rollup: str | timedelta | None = None,
        timeZone: str | None = "UTC",  # noqa: N803 - as in data_frame
        firstDayOfWeek: int | None = 1,  # noqa: N803
        origin: Instant | None = None,
        last: int = -1,
        include: Sequence[str] = (),
        window_size: str | timedelta | None = None,
        *,
        series: Sequence[str] = (),
        outsidePoints: bool = False,  # noqa: N803
        progress: Progress | None = None,
    ) -> Iterator[DataSelection]:
        """The pieces of `data_frame` one after another, for more data than fits into memory.

        The arguments are those of `data_frame`, but without a limit. For each page of 50 items come all windows of
        time. Raises ClarifyError if a piece cannot be had.

        >>> for piece in client.iter_data_frames(gte="2025-01-01T00:00:00Z", lt="2026-01-01T00:00:00Z"):
        ...     print(len(piece.data.times), "times")
        """
        edges = paging.read_rollup(rollup, time_zone=timeZone, first_day=firstDayOfWeek, origin=origin)
        start, end = paging.bounds(gte, lt, self._now())
        windows = list(paging.windows(start, end, edges, data_frame=True, size=window_size))
        settings: dict[str, object] = {
            "timeZone": timeZone or "UTC",
            "firstDayOfWeek": firstDayOfWeek or 1,
            "origin": arguments.origin_text(origin),
        }
        skip, limit = arguments.page(skip, limit)
        one_page = limit is not None and limit <= DATA_FRAME_ITEMS
        done = 0
        for page, (page_skip, size) in enumerate(paging.pages(skip, limit, DATA_FRAME_ITEMS)):
            if page > 0 and not self._any_item(filter, sort, page_skip):
                return

            def ask(first: int, stop: int, page_skip: int = page_skip, size: int = size) -> dict[str, object]:
                return {
                    "query": arguments.resource_query(filter, sort, page_skip, size, total=total),
                    "data": arguments.data_query(
                        first, stop, rollup=edges.text if edges else None, last=last, series=series,
                        outside_points=outsidePoints, settings=settings,
                    ),
                    "include": arguments.texts("include", include),
                    "format": _AS_FRAME,
                }  # fmt: skip

            for piece in self._each_window(_DATA_FRAME, windows, edges, ask):
                yield piece
                done += 1
                if progress is not None:
                    progress(done, len(windows) if one_page else None)

    def evaluate(
        self,
        rollup: str | timedelta,
        timeZone: str | None = None,  # noqa: N803 - the name in Clarify's own client
        firstDayOfWeek: int | None = None,  # noqa: N803
        outsidePoints: bool = False,  # noqa: N803
        origin: Instant | None = None,
        items: Sequence[ItemAggregation | Mapping[str, object]] = (),
        groups: Sequence[GroupAggregation | Mapping[str, object]] = (),
        calculations: Sequence[Calculation | Mapping[str, object]] = (),
        series: Sequence[str] = (),
        gte: Instant | None = None,
        lt: Instant | None = None,
        last: int = -1,
        include: Sequence[str] = (),
        window_size: str | timedelta | None = None,
        *,
        progress: Progress | None = None,
    ) -> Response[DataSelection]:
        """Aggregates of items, and formulas over them, in the buckets of a rollup. API: clarify.evaluate.

        items
            ItemAggregation, or dicts of their fields: which item, how it is aggregated, and under which alias. At
            most 50 different items.
        groups
            GroupAggregation: all items of a filter as one series. API 1.2.
        calculations
            Calculation: formulas over the aliases of items, groups and earlier calculations. At most 100.
        series
            Only these aliases in the answer.

        The other arguments are those of `data_frame`. Returns a Response with `result.data`, a DataFrame whose series
        are the aliases.

        >>> client.evaluate(
        ...     rollup="PT1H",
        ...     items=[ItemAggregation(id="cq3t8v5e1k7n4m0r2s6g", aggregation="avg", alias="p")],
        ...     calculations=[Calculation(formula="p * 1000", alias="mbar")],
        ... )
        """
        if groups:
            self._need_1_2("groups in clarify.evaluate")
        chosen = arguments.aggregations(ItemAggregation, "items", items)
        grouped = arguments.aggregations(GroupAggregation, "groups", groups)
        formulas = arguments.aggregations(Calculation, "calculations", calculations)
        if any("engUnit" in entry for entry in (*chosen, *formulas)):
            self._need_1_2("engUnit in clarify.evaluate")
        if len({entry["id"] for entry in chosen}) > EVALUATED_ITEMS or len(formulas) > CALCULATIONS:
            raise ValueError(f"at most {EVALUATED_ITEMS} different items and {CALCULATIONS} calculations in one call")
        edges = paging.read_rollup(rollup, time_zone=timeZone, first_day=firstDayOfWeek, origin=origin)
        if edges is None:
            raise ValueError("evaluate needs a rollup: a duration such as PT5M, months such as P1M, or window")
        start, end = paging.bounds(gte, lt, self._now())
        windows = list(paging.windows(start, end, edges, data_frame=False, size=window_size))
        settings: dict[str, object] = {"origin": arguments.origin_text(origin)}
        if timeZone is not None:
            settings["timeZone"] = timeZone
        if firstDayOfWeek is not None:
            settings["firstDayOfWeek"] = firstDayOfWeek
        rollup_text = edges.text

        def ask(first: int, stop: int) -> dict[str, object]:
            params: dict[str, object] = {
                "items": chosen,
                "calculations": formulas,
                "data": arguments.data_query(
                    first, stop, rollup=rollup_text, last=last, series=series,
                    outside_points=outsidePoints, settings=settings,
                ),
                "include": arguments.texts("include", include),
                "format": _AS_FRAME,
            }  # fmt: skip
            return {**params, "groups": grouped} if grouped else params

        def pieces() -> Iterator[DataSelection]:
            for done, piece in enumerate(self._each_window(_EVALUATE, windows, edges, ask), 1):
                yield piece
                if progress is not None:
                    progress(done, len(windows))

        return self._gather(pieces(), last)

    # -- details ----------------------------------------------------------------------------------

    def _call(self, method: str, params: dict[str, object]) -> dict[str, object]:
        name, sent = adapted(method, params, self._version)
        return self._pacing.run(method, lambda: self._api.call(name, sent))

    def _next_id(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls

    def _response(self, result: ModelT | None) -> Response[ModelT]:
        return Response(result, None, self._next_id())

    def _failed(self, exception: ClarifyError) -> Response[Any]:
        return Response(None, None, self._next_id()).with_error(exception)

    def _need_1_2(self, what: str) -> None:
        if self._version < CONNECTING:
            raise ApiVersionError(
                f"{what} needs API 1.2, and this client uses {self.api_version}: "
                'create it with Client(..., api_version="1.2")'
            )

    def _select(
        self,
        method: str,
        model: type[_SelectionT],
        filter: QueryFilter | None,  # noqa: A002 - the API's name
        skip: int,
        limit: int | None,
        sort: Sequence[str],
        total: bool,
        include: Sequence[str],
        more: Mapping[str, object],
        progress: Progress | None,
    ) -> Response[_SelectionT]:
        data: list[Any] = []
        included: Included | None = None
        meta: SelectionMeta | None = None
        failure: ClarifyError | None = None
        try:
            for page in self._pages(method, model, filter, skip, limit, sort, total, include, more, progress):
                data += page.data
                meta = meta or page.meta
                included = included.and_more(page.included) if included is not None else page.included
        except ClarifyError as error:
            failure = error
        if meta is None and failure is not None:
            return self._failed(failure)
        response = self._response(model(meta=meta or SelectionMeta(), data=data, included=included))
        return response if failure is None else response.with_error(failure)

    def _pages(
        self,
        method: str,
        model: type[_SelectionT],
        filter: QueryFilter | None,  # noqa: A002 - the API's name
        skip: int,
        limit: int | None,
        sort: Sequence[str],
        total: bool,
        include: Sequence[str],
        more: Mapping[str, object],
        progress: Progress | None,
    ) -> Iterator[_SelectionT]:
        done = 0
        skip, limit = arguments.page(skip, limit)
        pages = paging.pages(skip, limit, SELECTED_RESOURCES) if limit != 0 else iter([(skip, 0)])
        for page_skip, size in pages:
            params = {
                **more,
                "query": arguments.resource_query(filter, sort, page_skip, size, total=total),
                "include": arguments.texts("include", include),
                "format": _AS_LIST,
            }
            page = read_answer(model, self._call(method, params), method)
            yield page
            done += len(page.data)
            ended = len(page.data) < size
            if progress is not None:
                progress(done, done if ended or done == limit else None)
            if ended:
                return

    def _any_item(self, filter: QueryFilter | None, sort: Sequence[str], skip: int) -> bool:  # noqa: A002
        """Whether there is another page of items: a data frame does not say how many there were."""
        query = arguments.resource_query(filter, sort, skip, 1, total=False)
        params: dict[str, object] = {"query": query, "include": [], "format": _AS_LIST}
        return bool(read_answer(ItemSelection, self._call(_SELECT_ITEMS, params), _SELECT_ITEMS).data)

    def _each_window(
        self,
        method: str,
        windows: list[tuple[int, int]],
        rollup: paging.Rollup | None,
        ask: Callable[[int, int], dict[str, object]],
    ) -> Iterator[DataSelection]:
        """The answers for all windows. Where one is too long, that window and those after it are cut in two."""
        index = 0
        while index < len(windows):
            try:
                answer = self._call(method, ask(*windows[index]))
            except TooLarge as error:
                smaller = paging.halved(windows[index:], rollup)
                if error.code != _OK or smaller == windows[index:]:  # it is the request that is too large
                    raise
                windows[index:] = smaller
                continue
            index += 1
            yield read_answer(DataSelection, answer, method)

    def _gather(self, pieces: Iterator[DataSelection], last: int) -> Response[DataSelection]:
        """One selection out of the pieces, as far as they could be had."""
        frames: list[DataFrame] = []
        included: Included | None = None
        meta: SelectionMeta | None = None
        failure: ClarifyError | None = None
        try:
            for piece in pieces:
                frames.append(piece.data)
                meta = meta or piece.meta
                included = included.and_more(piece.included) if included is not None else piece.included
        except ClarifyError as error:
            failure = error
        if meta is None and failure is not None:
            return self._failed(failure)
        frame = frames[0] if len(frames) == 1 else DataFrame.merge(frames)
        if last > 0 and len(frames) > 1:
            frame = frame.last(last)
        response = self._response(DataSelection(meta=meta or SelectionMeta(), data=frame, included=included))
        return response if failure is None else response.with_error(failure)


_SelectionT = TypeVar("_SelectionT", SignalSelection, ItemSelection)
