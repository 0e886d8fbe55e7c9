"""The calls of one `Client`: each call waits for its turn, and is repeated if a repetition may help.

A call uses the method names and the parameters of the client's API version.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final, TypeAlias, TypeVar

from connector.clarify.answers import AnswerModel, Response, read_answer
from connector.clarify.api import Api
from connector.clarify.errors import ClarifyError
from connector.clarify.pacing import Pacing
from connector.clarify.results import InsertResult
from connector.clarify.versions import CONNECTING, ApiVersion, ApiVersionError, adapted

ProgressCallback: TypeAlias = Callable[[int, int | None], object]
"""Called after each part of a long call with the number of parts done and the number of all, or None if unknown."""

INSERT: Final = "integration.insert"
AS_LIST: Final = {"dataAsArray": True, "groupIncludedByType": True}
"""The format of an answer with a list of resources."""

ModelT = TypeVar("ModelT", bound=AnswerModel)


class Calls:
    """Calls Clarify for the parts of a client, and numbers the responses. Safe for several threads."""

    def __init__(self, api: Api, pacing: Pacing, selector: str, version: ApiVersion) -> None:
        """`selector` is the text that `version` was read from, such as `1.2beta1`."""
        self._api = api
        self._pacing = pacing
        self._selector = selector
        self._version = version
        self._ids = count(1)

    @property
    def integration(self) -> str:
        """The ID of the integration that the credentials belong to."""
        return self._api.integration

    def call(self, method: str, params: dict[str, object]) -> dict[str, object]:
        """The result of an RPC method. Raises ClarifyError."""
        name, sent = adapted(method, params, self._version)
        return self._pacing.run(method, lambda: self._api.call(name, sent))

    def read(self, model: type[ModelT], method: str, params: dict[str, object]) -> ModelT:
        """The result of an RPC method as a model. Raises ClarifyError."""
        return read_answer(model, self.call(method, params), method)

    def insert(self, encoded: bytes) -> InsertResult:
        """The result of an insert of an encoded data frame. Raises ClarifyError."""
        return self._pacing.run(INSERT, lambda: self._api.insert_encoded(encoded))

    def response(self, result: ModelT | None, failure: ClarifyError | None = None) -> Response[ModelT]:
        """A response with the next ID. A `failure` becomes the error of the response."""
        response = Response(result, None, next(self._ids))
        return response if failure is None else response.with_error(failure)

    def need_1_2(self, what: str) -> None:
        """Raise ApiVersionError if the client's API version is below 1.2; `what` begins the text of the error."""
        if self._version < CONNECTING:
            raise ApiVersionError(
                f"{what} needs API 1.2, and this client uses {self._selector}: "
                'create the client with Client(..., api_version="1.2")'
            )

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def __repr__(self) -> str:
        return repr(self._api).replace("Api(", "Calls(", 1)
