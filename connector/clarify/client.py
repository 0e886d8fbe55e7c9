"""The Clarify client for people: every method of the API, with the signatures of Clarify's own Python client.

    client = Client("clarify-credentials.json")
    client.insert({"times": ["2026-05-01T06:00:00Z"], "series": {"boiler/pressure": [4.1]}}).raise_for_error()

Each method returns a `Response` with `result` or `error`. What is wrong with the arguments is a ValueError before
anything is sent. Calls wait for their turn (the documented rates), are repeated where that may help, and are split
where one request may not carry them: see `Client`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from connector.clarify import paging
from connector.clarify.answers import (
    DataSelection,
    InsertResponse,
    ItemResource,
    ItemSelection,
    PublishSignalsResponse,
    Response,
    SaveSignalsResponse,
    SignalResource,
    SignalSelection,
)
from connector.clarify.api import Api
from connector.clarify.calls import Calls, Progress
from connector.clarify.credentials import Credentials, CredentialsSource
from connector.clarify.iso8601 import Instant
from connector.clarify.limits import API_VERSION, REQUEST_BYTES
from connector.clarify.models import Calculation, GroupAggregation, ItemAggregation, ItemInfo, SignalInfo
from connector.clarify.pacing import Pacing, Retries, documented_rates
from connector.clarify.publishing import Publisher
from connector.clarify.reading import DataRequest, Reader
from connector.clarify.selecting import ITEMS, SIGNALS, Selector
from connector.clarify.selection import QueryFilter, Selection
from connector.clarify.transport import Timeouts
from connector.clarify.versions import read_version
from connector.clarify.writing import Writer

_FIRST_ENVELOPE: Final = 1024
"""Bytes around the data of an insert: its method, its ID and the integration's."""


class Client:
    """A client for one integration. Safe for several threads; no network until the first call.

    The class is long because it has the signature and the docstring of every method, and nothing else.

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
        version = read_version(self.api_version)
        api = Api(
            clarify_credentials,
            api_version=self.api_version,
            timeout=timeout,
            transport=transport,
            verify=verify,
            clock=clock,
            user_agent=user_agent,
        )
        pacing = Pacing(rates, retries or Retries(), clock=clock, sleep=sleep)
        self._calls = Calls(api, pacing, self.api_version, version)
        self._writer = Writer(self._calls, max_request_bytes - _FIRST_ENVELOPE)
        self._selector = Selector(self._calls)
        self._publisher = Publisher(self._calls)
        self._reader = Reader(self._calls, self._selector, now)

    @property
    def integration(self) -> str:
        """The ID of the integration whose credentials these are."""
        return self._calls.integration

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._calls).replace("Calls(", "Client(", 1)

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
        return self._writer.insert(data, progress)

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
        return self._writer.save_signals(
            input_ids,
            signals,
            signals_by_input,
            create_only=create_only,
            integration=integration,
            progress=progress,
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
        return self._publisher.publish_signals(
            signal_ids,
            items,
            items_by_signal,
            create_only=create_only,
            integration=integration,
            progress=progress,
        )

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
        selection = Selection(filter, skip, limit, sort, total, include)
        more = {"integration": integration or self.integration}
        return self._selector.select(SIGNALS, selection, more, progress)

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
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._selector.select(ITEMS, selection, {}, progress)

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
        selection = Selection(filter, skip, limit, sort, include=include)
        for page in self._selector.pages(SIGNALS, selection, {"integration": self.integration}, progress):
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
        selection = Selection(filter, skip, limit, sort, include=include)
        for page in self._selector.pages(ITEMS, selection, {}, progress):
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
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._publisher.connect_signals(item, selection, dry_run=dry_run, integration=integration)

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
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._publisher.disconnect_signals(selection, dry_run=dry_run, integration=integration)

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
        selection = Selection(filter, skip, limit, sort, total, include)
        request = DataRequest(
            gte=gte,
            lt=lt,
            rollup=rollup,
            time_zone=timeZone,
            first_day=firstDayOfWeek,
            origin=origin,
            last=last,
            window_size=window_size,
            series=series,
            outside_points=outsidePoints,
        )
        return self._reader.data_frame(selection, request, progress)

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
        selection = Selection(filter, skip, limit, sort, total, include)
        request = DataRequest(
            gte=gte,
            lt=lt,
            rollup=rollup,
            time_zone=timeZone,
            first_day=firstDayOfWeek,
            origin=origin,
            last=last,
            window_size=window_size,
            series=series,
            outside_points=outsidePoints,
        )
        return self._reader.iter_data_frames(selection, request, progress)

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
        request = DataRequest(
            gte=gte,
            lt=lt,
            rollup=rollup,
            time_zone=timeZone,
            first_day=firstDayOfWeek,
            origin=origin,
            last=last,
            window_size=window_size,
            series=series,
            outside_points=outsidePoints,
        )
        return self._reader.evaluate(items, groups, calculations, include, request, progress)
