"""The return values of the client's methods: a response with `result` or `error`, and typed results.

Unknown fields are ignored, because Clarify may add fields at any time. The names of fields are snake_case. The API's
camelCase names work too: `result.signalsByInput` is `result.signals_by_input`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, Self, TypeVar

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from connector.clarify.api_model import ApiModel
from connector.clarify.data_frame import DataFrame
from connector.clarify.errors import ClarifyError, Retryable
from connector.clarify.rpc import stores
from connector.clarify.validation import broken_rules

ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT", bound="AnswerModel")


class AnswerModel(ApiModel):
    """A part of an answer. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


def _set_duration(value: object) -> object:
    """The duration in the API's form; None for PT0S and for an empty text, which mean "not set"."""
    return None if value in ("PT0S", "") else value


AnsweredDuration = Annotated[timedelta | None, BeforeValidator(_set_duration)]


class CreateSummary(AnswerModel):
    """The outcome of an insert for one signal."""

    id: str
    created: bool


class SaveSummary(AnswerModel):
    """The outcome of a save of metadata for one signal or item."""

    id: str
    created: bool
    updated: bool


class InsertResponse(AnswerModel):
    """The outcome of an insert, by input ID."""

    signals_by_input: dict[str, CreateSummary]


class SaveSignalsResponse(AnswerModel):
    """The outcome of a save of metadata, by input ID."""

    signals_by_input: dict[str, SaveSummary]


class PublishSignalsResponse(AnswerModel):
    """The outcome of publishing, by signal ID. The IDs in the summaries are IDs of items."""

    items_by_signal: dict[str, SaveSummary]


class ResourceMeta(AnswerModel):
    """Clarify's own data about a resource. The hashes may be missing."""

    annotations: dict[str, str] = Field(default_factory=dict)
    attributes_hash: str | None = None
    relationships_hash: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


class SavedAttributes(AnswerModel):
    """Metadata from Clarify. The types of sources and values are texts, because Clarify may add types."""

    name: str = ""
    description: str = ""
    labels: dict[str, list[str]] = Field(default_factory=dict)
    source_type: str = "measurement"
    value_type: str = "numeric"
    eng_unit: str = ""
    enum_values: dict[str, str] = Field(default_factory=dict)
    sample_interval: AnsweredDuration = None
    gap_detection: AnsweredDuration = None


class SavedSignal(SavedAttributes):
    """Metadata of a signal."""

    input: str


class SavedItem(SavedAttributes):
    """Metadata of an item."""

    visible: bool = False


class Identifier(AnswerModel):
    """A resource by type and ID."""

    type: str
    id: str


class ToOne(AnswerModel):
    """A relationship to one resource, or to no resource."""

    data: Identifier | None = None


class SignalRelationships(AnswerModel):
    """The integration of a signal, and the item that shows the signal."""

    integration: ToOne | None = None
    item: ToOne | None = None


class Resource(AnswerModel):
    """A signal or an item."""

    id: str
    type: str
    meta: ResourceMeta = Field(default_factory=ResourceMeta)


class SignalResource(Resource):
    """A signal: its metadata, and the item that shows it."""

    attributes: SavedSignal
    relationships: SignalRelationships = Field(default_factory=SignalRelationships)

    @property
    def item(self) -> str | None:
        """The ID of the item that the signal is published as; None if the signal is not published."""
        related = self.relationships.item
        return related.data.id if related is not None and related.data is not None else None


class ItemResource(Resource):
    """An item: its metadata."""

    attributes: SavedItem


class SelectionMeta(AnswerModel):
    """About a selection: `total` is the number of matching resources; -1 if they were not counted."""

    total: int = -1
    format: dict[str, Any] = Field(default_factory=dict)


class Included(AnswerModel):
    """The related resources that `include` asked for."""

    items: list[ItemResource] = Field(default_factory=list)
    signals: list[SignalResource] = Field(default_factory=list)

    def and_more(self, other: Included | None) -> Included:
        """The resources of this answer and of another answer, without duplicates."""
        if other is None:
            return self
        items = {found.id: found for found in [*self.items, *other.items]}
        signals = {found.id: found for found in [*self.signals, *other.signals]}
        return Included(items=list(items.values()), signals=list(signals.values()))


def _listed(data: object) -> object:
    """The resources as a list. Some answers have a map of resources by ID."""
    return list(data.values()) if isinstance(data, Mapping) else data


class SignalSelection(AnswerModel):
    """Signals that a query selected."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[list[SignalResource], BeforeValidator(_listed)] = Field(default_factory=list)
    included: Included | None = None


class ItemSelection(AnswerModel):
    """Items that a query selected."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[list[ItemResource], BeforeValidator(_listed)] = Field(default_factory=list)
    included: Included | None = None


def _as_frame(data: object) -> object:
    """The data as one frame. Some answers have a list of frames."""
    if isinstance(data, list):
        if not all(isinstance(frame, Mapping) for frame in data):
            raise ValueError("a list with an element that is no data frame")
        return DataFrame.merge(DataFrame.from_wire(frame) for frame in data)
    return DataFrame.from_wire(data) if isinstance(data, Mapping) else data


class DataSelection(AnswerModel):
    """A data frame, whose series are items, rollups of items, or aliases."""

    meta: SelectionMeta = Field(default_factory=SelectionMeta)
    data: Annotated[DataFrame, BeforeValidator(_as_frame), PlainSerializer(DataFrame.to_wire)]
    included: Included | None = None


class ErrorData(ApiModel):
    """The details of an error. The fields differ between versions of the API."""

    model_config = ConfigDict(extra="allow")

    trace: str | None = None
    params: dict[str, list[str]] | None = None
    path_errors: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """The error of a call. `exception` is the same error as an exception, whose class decides the remedy."""

    code: int | None
    """The RPC error code (negative) or the HTTP status; None if there was no answer, or nothing was sent."""
    message: str
    data: ErrorData | str | None
    exception: ClarifyError

    @classmethod
    def of(cls, exception: ClarifyError) -> Error:
        """The error for an exception of a call."""
        data = exception.data
        details: ErrorData | str | None = None if data is None else str(data)
        if isinstance(data, Mapping):
            with suppress(ValidationError):  # details of another shape stay text
                details = ErrorData.model_validate(data)
        return cls(exception.code, str(exception), details, exception)


@dataclass(frozen=True, slots=True)
class Response(Generic[ResultT]):
    """The answer to a call: `result` or `error`, or both if a later part of a long call failed."""

    result: ResultT | None = None
    error: Error | None = None
    id: int | str = 0
    jsonrpc: str = "2.0"

    def raise_for_error(self) -> Self:
        """The response itself if there is no error. Otherwise raises the error, a ClarifyError with a remedy."""
        if self.error is not None:
            raise self.error.exception
        return self

    def model_dump(self, *, mode: str = "json", by_alias: bool = True) -> dict[str, Any]:
        """The response as a dict with the API's names, for logs and files, like `model_dump` of pydantic."""
        error: dict[str, object] | None = None
        if self.error is not None:
            data = self.error.data
            details = data.model_dump(mode=mode, by_alias=by_alias) if isinstance(data, ErrorData) else data
            error = {"code": self.error.code, "message": self.error.message, "data": details}
        result = self.result
        dumped = result.model_dump(mode=mode, by_alias=by_alias) if isinstance(result, AnswerModel) else result
        return {"jsonrpc": self.jsonrpc, "id": self.id, "result": dumped, "error": error}

    def model_dump_json(self) -> str:
        """The response as JSON text with the API's names."""
        return orjson.dumps(self.model_dump()).decode()

    def with_error(self, exception: ClarifyError) -> Response[ResultT]:
        """The same response with an error that came after the result."""
        return replace(self, error=Error.of(exception))


def read_answer(model: type[ModelT], result: Mapping[str, object], method: str) -> ModelT:
    """The result of a call as a model. Raises Retryable if the result is not as documented."""
    try:
        return model.model_validate(result)
    except ValidationError as error:
        wrong = broken_rules(error)
    except ValueError as error:  # an invalid data frame
        wrong = str(error)
    raise Retryable(
        f"The result makes no sense: {wrong[:500]}. Try again later; check the API version if the error stays.",
        code=200,
        method=method,
        outcome_unknown=stores(method),
    )
