"""Makes one line for a person from pydantic's report: the field and the rule, never the value."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from connector.clarify.errors import ArgumentError

_UNKNOWN = "extra_forbidden"  # pydantic's type of error for an unknown field
_OWN_RULE = "Value error, "  # pydantic's words before the message of a ValueError


ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], where: str, fields: object) -> ModelT:
    """The model of the fields. Raises ArgumentError, whose text begins with `where` and names the broken rules."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise ArgumentError(f"{where}: {broken_rules(error)}") from None


def broken_rules(error: ValidationError) -> str:
    """The broken rules as "field: rule", joined by "; ". The text has no value, and so no secret."""
    rules = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        rule = "unknown field" if problem["type"] == _UNKNOWN else problem["msg"].removeprefix(_OWN_RULE)
        rules.append(f"{field}: {rule}" if field else rule)
    return "; ".join(rules)
