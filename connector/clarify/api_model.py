"""The base of all models: snake_case in Python, camelCase in JSON. Both names can be read, set and given.

`model_dump`, `dict`, `model_dump_json`, `json` and `repr` use the API's names, like Clarify's own Python client.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

Dumped: TypeAlias = dict[str, Any]


@cache
def _fields_by_alias(model: type[BaseModel]) -> dict[str, str]:
    return {field.alias: name for name, field in model.model_fields.items() if field.alias and field.alias != name}


class ApiModel(BaseModel):
    """A model whose fields have two names: `eng_unit` and the API's `engUnit` are the same."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    def model_dump(self, **options: Any) -> Dumped:
        """The fields by the API's names, with the options of pydantic."""
        return super().model_dump(**{"by_alias": True, **options})

    def model_dump_json(self, **options: Any) -> str:
        """The fields as JSON text, by the API's names, with the options of pydantic."""
        return super().model_dump_json(**{"by_alias": True, **options})

    def dict(self, **options: Any) -> Dumped:
        """The same as `model_dump`."""
        return self.model_dump(**options)

    def json(self, **options: Any) -> str:
        """The same as `model_dump_json`."""
        return self.model_dump_json(**options)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            yield (field.alias if field and field.alias else name), value

    if not TYPE_CHECKING:  # a type checker should accept only the names of the fields

        def __getattr__(self, name: str) -> Any:
            field = _fields_by_alias(type(self)).get(name)
            return super().__getattr__(name) if field is None else getattr(self, field)

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(_fields_by_alias(type(self)).get(name, name), value)
