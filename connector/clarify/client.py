"""The Clarify client for people: every method of the API, with the signatures of Clarify's own Python client.

    client = Client("clarify-credentials.json")
    client.insert({"times": ["2026-05-01T06:00:00Z"], "series": {"boiler/pressure": [4.1]}}).raise_for_error()

Each method returns a `Response` with `result` or `error`. A wrong argument raises ArgumentError, a ValueError, before
anything is sent. Each call waits for its turn (the documented rates). A call is repeated after an error that may pass.
A call that is too large for one request is split into several requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

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
from connector.clarify.calls import Calls, ProgressCallback
from connector.clarify.credentials import Credentials, CredentialsSource
from connector.clarify.iso8601 import Instant
from connector.clarify.limits import API_VERSION, REQUEST_BYTES
from connector.clarify.models import Calculation, GroupAggregation, ItemAggregation, ItemInfo, SignalInfo
from connector.clarify.pacing import Pacing, Retries, documented_rates
from connector.clarify.publishing import SignalPublisher
from connector.clarify.reading import DataRequest, Reader
from connector.clarify.selecting import ITEMS, SIGNALS, Selector
from connector.clarify.selection import QueryFilter, Selection
from connector.clarify.transport import Timeouts
from connector.clarify.versions import read_version
from connector.clarify.writing import Writer

_ALL: Final[dict[str, Any]] = {}
_NONE: Final[list[Any]] = []
"""The defaults, as the guide of Clarify's own client prints them. Nothing changes them."""
_FIRST_ENVELOPE: Final = 1024
"""The bytes of an insert besides the data: the method, the ID of the request and the ID of the integration."""


class Client:
    """A client for one integration. Safe for several threads. The first call opens the first connection.

    The class is long because of the signature and the docstring of every method. The class has no other code.

    clarify_credentials
        The path of a credentials file, the text of the file, or a dict of its fields. OAuth 2.0 and basic
        authentication work.
    api_version
        `1.1`, or `1.2` for groups in `evaluate`, `connect_signals` and `disconnect_signals`. Pre-releases of 1.2, such
        as `1.2beta1`, work too.
    timeout
        The longest times for connecting, reading and writing, in seconds.
    retries
        The limits of repetition. A call is repeated, with a back-off, after errors that may pass (time-outs,
        connections, 5xx, 429, "try again"). `NO_RETRIES` means never. A write can be repeated safely: the same values
        replace themselves.
    rates
        Calls per second for each method; None means no limit. The default is the documented rates, 1 to 10 calls per
        second. Faster calls would only wait at the server, and time out there.
    verify
        A CA file to trust instead of the usual authorities.
    max_request_bytes
        The largest size of an insert in bytes; a larger insert is split. The default is 8 MiB, as documented.
    user_agent
        The name of the program in requests.
    transport, clock, sleep, now
        Replace the network and the time in tests.

    Raises CredentialsError for wrong credentials, and ArgumentError for other wrong arguments.

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
        self._publisher = SignalPublisher(self._calls)
        self._reader = Reader(self._calls, self._selector, now)

    @property
    def integration(self) -> str:
        """The ID of the integration that the credentials belong to."""
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

    def insert(self, data: object, *, progress: ProgressCallback | None = None) -> Response[InsertResponse]:
        """Write values to signals. Signals that do not exist are created. API: integration.insert.

        data
            A DataFrame, a dict ({"times": [...], "series": {...}} or columns), or a pandas DataFrame or Series. Data
            that is larger than one request (8 MiB) is sent in several requests, one per second.
        progress
            Called after each request with the number of times that were sent, and the number of all times.

        Returns a Response with `result.signals_by_input[input_id]` (`id`, `created`). If a request fails, later
        requests are not sent. `result` then has the outcome of the earlier requests, and the same insert can be
        repeated.

        >>> client.insert(DataFrame(times=["2026-05-01T06:00:00Z"], series={"boiler/pressure": [4.1]}))
        """
        return self._writer.insert(data, progress)

    def save_signals(
        self,
        input_ids: Sequence[str] | Mapping[str, SignalInfo | Mapping[str, object]] = _NONE,
        signals: Sequence[SignalInfo | Mapping[str, object]] = _NONE,
        signals_by_input: Mapping[str, SignalInfo | Mapping[str, object]] | None = _ALL,
        create_only: bool = False,
        integration: str | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Response[SaveSignalsResponse]:
        """Save the metadata of signals. Signals that do not exist are created. API: integration.saveSignals.

        input_ids, signals
            Two lists of the same length; or
        signals_by_input
            input ID → Signal, or a dict of its fields. A field that is left out is reset. Only annotations are merged
            with the stored annotations.
        create_only
            Do not change signals that exist.

        Returns a Response with `result.signals_by_input[input_id]` (`id`, `created`, `updated`). More than 500 signals
        are saved in several requests.

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
        signal_ids: Sequence[str] | Mapping[str, ItemInfo | Mapping[str, object]] = _NONE,
        items: Sequence[ItemInfo | Mapping[str, object]] = _NONE,
        items_by_signal: Mapping[str, ItemInfo | Mapping[str, object]] | None = _ALL,
        create_only: bool = False,
        integration: str | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Response[PublishSignalsResponse]:
        """Publish signals as items, or update the items of published signals. API: admin.publishSignals.

        signal_ids, items
            Two lists of the same length; or
        items_by_signal
            signal ID → Item, or a dict of its fields. A field that is left out is reset. Only annotations are merged
            with the stored annotations. Items are hidden unless `visible` is True.
        create_only
            Do not change items that exist.

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
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = _NONE,
        total: bool = False,
        include: Sequence[str] = _NONE,
        integration: str | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Response[SignalSelection]:
        """Select signals of the integration, with their metadata. API: admin.selectSignals.

        filter
            A Filter, or the dict of a query. An empty dict selects all signals.
        skip, limit
            The number of matching signals to leave out, and the largest number to return. A limit of None returns all.
            More than 1,000 signals are fetched page by page.
        sort
            Field paths, such as `["-createdAt"]`. A `-` before a path reverses the order.
        total
            Count all matching signals; the count is `result.meta.total`.
        include
            `["item"]` adds the items of published signals to `result.included.items`.
        progress
            Called after each page with the number of signals so far, and the number of all signals. The number of all
            is None until the last page.

        Returns a Response with `result.data`, a list of resources (`id`, `attributes`, `meta`, `relationships`).

        >>> client.select_signals(filter=query.Filter(fields={"name": query.Regex(value="^Boiler")}))
        """
        selection = Selection(filter, skip, limit, sort, total, include)
        more = {"integration": integration or self.integration}
        return self._selector.select(SIGNALS, selection, more, progress)

    def select_items(
        self,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        include: Sequence[str] = _NONE,
        skip: int = 0,
        limit: int | None = 10,
        sort: Sequence[str] = _NONE,
        total: bool = False,
        *,
        progress: ProgressCallback | None = None,
    ) -> Response[ItemSelection]:
        """Select the organisation's items that the integration may see, with their metadata. API: clarify.selectItems.

        The arguments mean the same as in `select_signals`. The integration needs access to the clarify namespace.

        >>> client.select_items(filter=query.Filter(fields={"labels.type": query.Equal(value="pump")}), limit=100)
        """
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._selector.select(ITEMS, selection, {}, progress)

    def iter_signals(
        self,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        sort: Sequence[str] = _NONE,
        include: Sequence[str] = _NONE,
        *,
        skip: int = 0,
        limit: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Iterator[SignalResource]:
        """Yield signals one after another, fetched in pages of 1,000. Raises ClarifyError if a page fails.

        The arguments mean the same as in `select_signals`.

        >>> for signal in client.iter_signals(): print(signal.attributes.name)
        """
        selection = Selection(filter, skip, limit, sort, include=include)
        for page in self._selector.pages(SIGNALS, selection, {"integration": self.integration}, progress):
            yield from page.data

    def iter_items(
        self,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        sort: Sequence[str] = _NONE,
        include: Sequence[str] = _NONE,
        *,
        skip: int = 0,
        limit: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Iterator[ItemResource]:
        """Yield items one after another, in the same way as `iter_signals` yields signals."""
        selection = Selection(filter, skip, limit, sort, include=include)
        for page in self._selector.pages(ITEMS, selection, {}, progress):
            yield from page.data

    # -- connecting, API 1.2 ----------------------------------------------------------------------

    def connect_signals(
        self,
        item: str,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = _NONE,
        total: bool = False,
        include: Sequence[str] = _NONE,
        dry_run: bool = False,
        integration: str | None = None,
    ) -> Response[SignalSelection]:
        """Connect signals to an item, so that the item shows their data. API 1.2: admin.signals.connect.

        item
            The item's ID. Where the data of several signals overlaps, the data of the newest signal counts.
        dry_run
            Change nothing, and return the signals that would change.

        The other arguments mean the same as in `select_signals`. **Without a filter all signals are connected**, up to
        the limit. Returns the signals that are affected. Raises ApiVersionError below API 1.2.
        """
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._publisher.connect_signals(item, selection, dry_run=dry_run, integration=integration)

    def disconnect_signals(
        self,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        skip: int = 0,
        limit: int | None = 20,
        sort: Sequence[str] = _NONE,
        total: bool = False,
        include: Sequence[str] = _NONE,
        dry_run: bool = False,
        integration: str | None = None,
    ) -> Response[SignalSelection]:
        """Disconnect signals from their items. API 1.2: admin.signals.disconnect.

        The arguments, the result and the errors are the same as in `connect_signals`.
        """
        selection = Selection(filter, skip, limit, sort, total, include)
        return self._publisher.disconnect_signals(selection, dry_run=dry_run, integration=integration)

    # -- reading data -----------------------------------------------------------------------------

    def data_frame(
        self,
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        sort: Sequence[str] = _NONE,
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
        include: Sequence[str] = _NONE,
        window_size: str | timedelta | None = None,
        *,
        series: Sequence[str] = _NONE,
        outsidePoints: bool = False,  # noqa: N803
        progress: ProgressCallback | None = None,
    ) -> Response[DataSelection]:
        """Read the data of items. API: clarify.dataFrame.

        filter, sort, limit, skip, total
            The selection of items, as in `select_items`. More than 50 items are fetched page by page. A limit below
            zero means no limit, and a skip below zero means 0.
        gte, lt
            The first time (inclusive) and the last time (exclusive). Without both, the window is one week back and one
            week ahead. With only one time, the window is 40 days long. The API limits a window to 40 days, to 400 days
            for rollups from one minute, and to more for longer rollups. Longer windows, and answers of over 64 MiB, are
            fetched piece by piece.
        rollup
            A duration such as `PT5M`, months such as `P1M`, or `window` for one bucket. Each numeric item then becomes
            the series `<item>_count`, `_min`, `_max`, `_sum` and `_avg`. An item with states becomes the seconds in
            each state.
        timeZone
            The time zone of midnights and months in buckets, such as `Europe/Oslo`.
        firstDayOfWeek, origin
            The start of buckets: a weekday from 1 (Monday) to 7, or a time. The time takes precedence.
        last
            The number of last values to keep of each series. 0 or less keeps all values.
        include
            `["item"]` adds the items to `result.included.items`.
        window_size
            The length of one piece, for dense data. The API's limit holds too.
        series
            The series to return. An empty list returns all series.
        outsidePoints
            Return also the last value before the window and the first value after the window.
        progress
            Called after each piece with the number of pieces done, and the number of all pieces. The number of all is
            None if the items may need more than one page.

        Returns a Response with `result.data`, a DataFrame. `result.data.to_pandas()` makes a pandas DataFrame. If a
        piece fails, `result` has the pieces before it.

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
        filter: QueryFilter | None = _ALL,  # noqa: A002 - the API's name
        sort: Sequence[str] = _NONE,
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
        include: Sequence[str] = _NONE,
        window_size: str | timedelta | None = None,
        *,
        series: Sequence[str] = _NONE,
        outsidePoints: bool = False,  # noqa: N803
        progress: ProgressCallback | None = None,
    ) -> Iterator[DataSelection]:
        """Yield the pieces of `data_frame` one after another, for more data than fits into memory.

        The arguments mean the same as in `data_frame`; the default is no limit. All windows of time of one page of 50
        items come before the next page. Raises ClarifyError if a piece fails.

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
        items: Sequence[ItemAggregation | Mapping[str, object]] = _NONE,
        groups: Sequence[GroupAggregation | Mapping[str, object]] = _NONE,
        calculations: Sequence[Calculation | Mapping[str, object]] = _NONE,
        series: Sequence[str] = _NONE,
        gte: Instant | None = None,
        lt: Instant | None = None,
        last: int = -1,
        include: Sequence[str] = _NONE,
        window_size: str | timedelta | None = None,
        *,
        progress: ProgressCallback | None = None,
    ) -> Response[DataSelection]:
        """Compute aggregates of items, and formulas, in the buckets of a rollup. API: clarify.evaluate.

        items
            ItemAggregation objects, or dicts of their fields: the item, the aggregation and the alias. At most 50
            different items.
        groups
            GroupAggregation objects, or dicts of their fields: all items of a filter as one series. API 1.2.
        calculations
            Calculation objects, or dicts of their fields: formulas over the aliases of items, groups and earlier
            calculations. At most 100.
        series
            The aliases to return. An empty list returns all aliases.

        The other arguments mean the same as in `data_frame`. Returns a Response with `result.data`, a DataFrame whose
        series are the aliases.

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
