"""The definition of an RPC method: a name, its parameters, and one function.

To add a method, write its function (`Call` in, `Done` out), and add a `Method` to METHODS in the module of its
namespace (see integration.py). dispatch.py collects all methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connector.sandbox.problems import Problems
from connector.sandbox.settings import SandboxSettings
from connector.sandbox.store import Store
from connector.sandbox.versions import SELECTORS, ApiVersion

RESOURCE_ID = re.compile(r"[a-v0-9]{20}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; `aliases` are its other names, and `since` is the first version that knows it.

    `only` is the one version that knows it; None if later versions know it too.
    """

    name: str
    aliases: tuple[str, ...] = ()
    required: bool = False
    since: str = SELECTORS[0]
    only: str | None = None

    def is_in(self, version: ApiVersion) -> bool:
        """Whether this version knows the parameter."""
        return version.at_least(self.since) if self.only is None else version.selector == self.only


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method, with its parameters by their first name.

    The method adds every mistake in the parameters to `problems`. `now` is in seconds since the epoch.
    """

    store: Store
    settings: SandboxSettings
    integration: str
    params: Mapping[str, object]
    problems: Problems
    now: float
    version: ApiVersion


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a method; `samples` is the number of values that it took in, for the statistics."""

    result: Mapping[str, object]
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Method:
    """One method. Its parameters are in the order of the documentation, which counts for positional calls.

    `nickname` is its name in fault rules. `aliases` are its other names, each with the first version that knows the
    name. `rate` is its rate limit, as a multiple of the rate limit of an insert.
    """

    name: str
    nickname: str
    function: Callable[[Call], Done]
    parameters: tuple[Parameter, ...]
    aliases: tuple[tuple[str, str], ...] = ()
    rate: float = 1.0
    since: str = SELECTORS[0]

    def is_called(self, name: str, version: ApiVersion) -> bool:
        """Whether `name`, in upper or lower case, means this method in this version."""
        wanted = name.lower()
        return (wanted == self.name.lower() and version.at_least(self.since)) or any(
            wanted == alias.lower() and version.at_least(since) for alias, since in self.aliases
        )

    def bind(
        self, given: dict[str, object] | list[object], version: ApiVersion, problems: Problems
    ) -> dict[str, object]:
        """The given values by parameter name; unknown, repeated and missing parameters are added to `problems`."""
        known = [parameter for parameter in self.parameters if parameter.is_in(version)]
        if isinstance(given, list):
            for index in range(len(known), len(given)):
                problems.add(str(index), "unknown parameter")
            given = {parameter.name: value for parameter, value in zip(known, given, strict=False)}
        names = {name: parameter.name for parameter in known for name in (parameter.name, *parameter.aliases)}
        bound: dict[str, object] = {}
        for name, value in given.items():
            if name not in names:
                problems.add(name, "unknown parameter")
            elif names[name] in bound:
                problems.add(name, f"given twice: it is another name of {names[name]}")
            else:
                bound[names[name]] = value
        for parameter in known:
            if parameter.required and parameter.name not in bound:
                problems.add(parameter.name, "missing required parameter")
        return bound
