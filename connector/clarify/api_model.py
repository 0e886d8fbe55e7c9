"""The base of all models: snake_case in Python, camelCase in JSON. Both names can be read and given."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


@cache
def _fields_by_alias(model: type[BaseModel]) -> dict[str, str]:
    return {field.alias: name for name, field in model.model_fields.items() if field.alias and field.alias != name}


class ApiModel(BaseModel):
    """A model whose fields have two names: `eng_unit` and the API's `engUnit` are the same."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    if not TYPE_CHECKING:  # a type checker should accept only the names of the fields

        def __getattr__(self, name: str) -> Any:
            field = _fields_by_alias(type(self)).get(name)
            return super().__getattr__(name) if field is None else getattr(self, field)
