"""The building blocks of configuration sections: durations, sizes, secrets, strictness, and the catalogues of kinds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, NamedTuple, TypeVar, Union, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)

from connector import ConnectorError

if TYPE_CHECKING:
    import ssl
    from importlib.metadata import EntryPoint

READ_AGAIN: Final = "a file that ${file:…} names is read again before the next try"
"""The end of a remedy for a refused log-in."""
STDIN: Final = Path("-")
"""The path that means the standard input."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KiB|MB|MiB|GB|GiB)")
_SIZE_UNITS: Final = {
    "B": 1,
    "kB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}


def at_home(path: str | Path) -> Path:
    """Return a path with the home folder in place of a `~` at its beginning. An unknown `~name` stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises for an unknown name


def anchored(section: Any, folder: Path) -> Any:
    """Return the section with relative paths starting at `folder`, and the home folder in place of `~`."""
    changes: dict[str, Any] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path) and value != STDIN:
            changes[name] = folder / at_home(value)
        elif isinstance(value, BaseModel):
            changes[name] = anchored(value, folder)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            changes[name] = [anchored(item, folder) for item in value]
        elif isinstance(value, dict) and any(isinstance(item, BaseModel) for item in value.values()):
            changes[name] = {key: anchored(item, folder) for key, item in value.items()}
    return section.model_copy(update=changes)


def seconds(value: object) -> object:
    """Returns the seconds of a duration with a unit. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a duration needs a unit, such as 500ms, 2s, 5m, 1h or 7d")  # noqa: TRY004 - pydantic reports ValueError
    found = _DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no duration; write for example 500ms, 2s, 5m, 1h or 7d")
    return float(found[1]) * _DURATION_UNITS[found[2]]


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a size needs a unit, such as 512KiB, 8MiB or 1GiB")  # noqa: TRY004 - as above
    found = _SIZE.fullmatch(value.strip())
    if not found:
        raise ValueError(f"{value!r} is no size; write for example 512KiB, 8MiB or 1GiB")
    return int(float(found[1]) * _SIZE_UNITS[found[2]])


def number_as_text(value: object) -> object:
    """Returns an integer as text, any other value unchanged: YAML reads `5` as a number where a text was meant."""
    return str(int(value)) if isinstance(value, int) and not isinstance(value, bool) else value


def _source_name(name: str) -> str:
    if name.lower() in ("state", "dead-letters"):
        raise ValueError(
            f"a source cannot be named {name!r}: the source's journal would be a file that the connector has already"
        )
    return name


class UnreadableError(Exception):
    """A `${…}` of the configuration cannot be replaced; the text says why."""


class Referenced(str):
    """A text of the configuration with a `${…}` in it, as it was read at the start; `again` reads it again."""

    __slots__ = ("_last", "_read", "_said", "_setting", "written")

    written: str
    """The text in the file, with the `${…}`."""

    _last: str
    _read: Callable[[], str]
    _said: str
    _setting: str

    @classmethod
    def of(cls, text: str, setting: str, read: Callable[[], str], written: str = "") -> Referenced:
        """Returns the text of a setting; `read` reads it again, and raises `UnreadableError`."""
        made = cls(text)
        made.written = written
        made._last, made._setting, made._read, made._said = text, setting, read, ""
        return made

    def again(self) -> str:
        """Returns the text as its files have it now; the last readable one, if a file is missing, broken or empty."""
        try:
            self._last, problem = self._read(), ""
        except UnreadableError as error:
            problem = str(error)
        if problem and problem != self._said:
            import structlog  # noqa: PLC0415 - `health` reads a configuration, and must be quick

            structlog.get_logger(__name__).warning(
                "credentials_not_reloaded",
                setting=self._setting,
                reason=problem,
                effect="the value that was read before is used",
                remedy="mend the file; it is read again before the next try",
            )
        self._said = problem
        return self._last


def fresh(text: str) -> str:
    """Returns a setting as its files have it now."""
    return text.again() if isinstance(text, Referenced) else text


class Secret(SecretStr):
    """A secret. Each use reads the file of a `${file:…}` again, as `Referenced.again` does."""

    _text: str = ""

    @classmethod
    def of(cls, text: Referenced) -> Secret:
        """Returns the secret in a text."""
        made = cls(text)
        made._text = text
        return made

    @property
    def reference(self) -> Referenced | None:
        """The text with the `${…}`; None for a secret that stands in the configuration itself."""
        return self._text if isinstance(self._text, Referenced) else None

    def get_secret_value(self) -> str:
        """Returns the secret as its files have it now."""
        return fresh(self._text) if isinstance(self._text, Referenced) else super().get_secret_value()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        def keep(value: object) -> object:
            return cls.of(value) if isinstance(value, Referenced) else value

        return core_schema.no_info_before_validator_function(
            keep, super().__get_pydantic_core_schema__(source, handler)
        )


def _kept(value: object, check: ValidatorFunctionWrapHandler) -> object:
    checked = check(value)
    return value if isinstance(value, Referenced) else checked


UserName = Annotated[str, WrapValidator(_kept)]
"""A text that belongs to a secret, and may change with it: for `fresh`."""
Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", "examples": ["2s", "5m"]}),
]
Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(B|[kMG]B|[KMG]iB)$", "examples": ["8MiB", "1GiB"]}),
]
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]{0,63}$"), AfterValidator(_source_name)]


class Section(BaseModel):
    """A section of the configuration: unknown settings are errors, and defaults are checked like written values."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, defer_build=True
    )


def http_address(text: str, *, example: str, no_login: str) -> str:
    """Returns an address of HTTP without the last slash. Raises ValueError if `text` is none, or has more than a path.

    `example` is an address to write instead, and `no_login` says where user and password belong.
    """
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"cannot be read as an address; write for example {example}")
    if parts.username or parts.password:
        raise ValueError(no_login)
    if parts.query or parts.fragment:
        raise ValueError("the address goes on behind its path; remove what begins with ? or #")
    return text.rstrip("/")


class TlsSection(Section):
    """TLS. Certificates are checked against the system's authorities unless `ca_file` is given."""

    ca_file: Path | None = Field(default=None, description="PEM file of the server's certificate authority.")
    cert_file: Path | None = Field(default=None, description="PEM file of our own certificate (mutual TLS).")
    key_file: Path | None = Field(default=None, description="PEM file of the certificate's private key.")
    key_password: Secret | None = Field(default=None, description="Password of the private key.")
    verify: bool = Field(
        default=True,
        description="Check the server's certificate and name. `false` lets anybody in between read and change "
        "everything: for test networks only.",
    )

    @model_validator(mode="after")
    def _pair(self) -> TlsSection:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file without cert_file; give both for mutual TLS")
        return self

    def context(self, trust: ssl.SSLContext | None = None) -> ssl.SSLContext:
        """The TLS context of a client; `trust` is a new context for the case that there is no `ca_file`.

        Raises OSError or ValueError if a file cannot be used.
        """
        import ssl  # noqa: PLC0415 - most commands need no TLS

        context = trust if self.ca_file is None else None
        context = context or ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            password = self.key_password.get_secret_value() if self.key_password else None
            context.load_cert_chain(self.cert_file, self.key_file, password)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    @property
    def files(self) -> dict[str, Path | None]:
        """Setting → the file that the setting names; None if the setting is not used."""
        return {"tls.ca_file": self.ca_file, "tls.cert_file": self.cert_file, "tls.key_file": self.key_file}

    @property
    def warnings(self) -> list[str]:
        """Texts for people about settings that work but are not wise."""
        return [] if self.verify else ["tls.verify is false: anybody in between can read and change everything"]


def same(before: object, after: object) -> bool:
    """Whether two values of a configuration are the same for a part that uses the first one.

    Such a part reads the file of a `${file:…}` again. So the content of the file is no difference; another file is one,
    also with the same content.
    """
    one, other = (value.reference or value if isinstance(value, Secret) else value for value in (before, after))
    if isinstance(one, Referenced) or isinstance(other, Referenced):
        if not (isinstance(one, Referenced) and isinstance(other, Referenced)):
            return False
        return one.written == other.written and one.again() == other.again()
    if isinstance(before, Section) and type(before) is type(after):
        return same(dict(before), dict(after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(same(value, after[key]) for key, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(same, before, after))
    return before == after


class CredentialsInUse:
    """The log-in and the certificates of a section, compared with those of the last look."""

    def __init__(self, section: Section, **whose: str) -> None:
        """`whose` are the fields of the line in the log; without any, nothing is logged."""
        self._section = section
        self._whose = whose
        self._seen = dict(_digests(section))

    def renewed(self) -> frozenset[str]:
        """Returns the settings whose content has changed since the last call, such as `tls.cert_file`; logs them.

        A file that cannot be read now counts as unchanged.
        """
        found = dict(_digests(self._section))
        changed = frozenset(name for name, digest in found.items() if digest != self._seen.get(name))
        self._seen |= found
        if changed and self._whose:
            import structlog  # noqa: PLC0415 - as above

            structlog.get_logger(__name__).info("credentials_reloaded", **self._whose, settings=sorted(changed))
        return changed


def _digests(section: Section, at: str = "") -> Iterator[tuple[str, bytes]]:
    """Yields setting → digest, for each secret, user name and certificate of a section that can be read."""
    for name, value in section:
        if isinstance(value, Section):
            yield from _digests(value, f"{at}{name}.")
        elif isinstance(value, dict):
            for key, one in value.items():
                if isinstance(one, Secret):
                    yield f"{at}{name}.{key}", _digest(one.get_secret_value().encode())
        elif isinstance(value, Secret):
            yield f"{at}{name}", _digest(value.get_secret_value().encode())
        elif isinstance(value, Referenced):
            yield f"{at}{name}", _digest(value.again().encode())
        elif isinstance(value, Path) and isinstance(section, TlsSection):
            with contextlib.suppress(OSError):
                yield f"{at}{name}", _digest(value.read_bytes())


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


class Destination(NamedTuple):
    """A place for published messages: a topic, and the servers (`host:port`) that have the topic."""

    protocol: str
    servers: tuple[str, ...]
    topic: str


class SettingsError(ConnectorError, ValueError):
    """A component cannot use the settings of a section; found when the component is made, or asks a library."""


_Kind = TypeVar("_Kind", bound=Section)


class Catalogue(Generic[_Kind]):
    """All kinds of one component, such as the kinds of sources: built-in kinds, and kinds of installed packages.

    A kind is the class of a section in the configuration; the section's `type` is the kind's name. A kind is imported
    when a configuration names it, or when somebody asks for all kinds. Another package adds a kind by an entry point in
    the catalogue's group. The name of the entry point is the kind's name; the value is the class.
    """

    def __init__(self, group: str, base: type[_Kind], built_in: Mapping[str, str]) -> None:
        """`group` is the group of entry points; every kind is a subclass of `base`.

        `built_in` has the built-in kinds: name → class, as `module:class`.
        """
        self.base: Final = base
        self._group = group
        self._built_in = built_in
        self._loaded: dict[str, type[_Kind]] = {}

    def kind(self, name: str) -> type[_Kind] | None:
        """Returns the kind of this name; None if there is no such kind, or if it cannot be used."""
        return self._of_built_in(name) if name in self._built_in else self._others[0].get(name)

    @property
    def kinds(self) -> dict[str, type[_Kind]]:
        """Name → section, of all kinds."""
        return {**{name: self._of_built_in(name) for name in self._built_in}, **self._others[0]}

    @property
    def broken(self) -> dict[str, str]:
        """Name of a kind of another package that cannot be used → the reason, as a text for people."""
        return self._others[1]

    def field(self, *, by_name: bool = False) -> Any:
        """Returns the type of a field that holds a section of any kind in the catalogue.

        With `by_name`, the name of a kind stands for its section, if the section needs no setting.
        """
        return Annotated[self.base, _AnyKind(self, by_name)]

    def _of_built_in(self, name: str) -> type[_Kind]:
        if name not in self._loaded:
            module, _, section = self._built_in[name].partition(":")
            self._loaded[name] = getattr(import_module(module), section)
        return self._loaded[name]

    @cached_property
    def _others(self) -> tuple[dict[str, type[_Kind]], dict[str, str]]:
        """The kinds of other packages, and the reasons for those that cannot be used."""
        from importlib.metadata import entry_points  # noqa: PLC0415 - looks at all installed packages

        kinds: dict[str, type[_Kind]] = {}
        broken: dict[str, str] = {}
        named: dict[str, list[EntryPoint]] = {}
        for found in entry_points(group=self._group):
            named.setdefault(found.name, []).append(found)
        for name, offers in named.items():
            origins = " and ".join(sorted(map(_origin, offers)))
            try:
                kinds[name] = self._of_package(name, offers)
            except _KindError as error:
                broken[name] = f"{origins} cannot be used: {error}"
            except Exception as error:  # noqa: BLE001 - after any error of one package, the other kinds must work
                said = " ".join(str(error).split())  # pydantic's texts have several lines
                broken[name] = f"{origins} cannot be used: {type(error).__name__}: {said}"
        return kinds, broken

    def _of_package(self, name: str, offers: Sequence[EntryPoint]) -> type[_Kind]:
        """Returns the kind that `offers` have under `name`. Raises `_KindError`, or any error of the package."""
        if len(offers) > 1:
            raise _KindError("several packages have a kind of this name; uninstall all packages but one")
        if name in self._built_in:
            raise _KindError(f"{name!r} is a built-in kind")
        kind = offers[0].load()
        if not (isinstance(kind, type) and issubclass(kind, self.base)):
            raise _KindError(f"the entry point is not a subclass of {self.base.__module__}.{self.base.__qualname__}")
        if get_args(kind.model_fields["type"].annotation) != (name,):
            raise _KindError(f"the entry point is called {name!r}, so the type must be Literal[{name!r}]")
        kind.model_json_schema()  # `clarify-connector schema` shows all kinds, and must not fail for a single kind
        return kind


@dataclass(frozen=True, slots=True)
class _AnyKind:
    """Makes pydantic check a section by the kind that it names, as a union of all kinds would.

    A union would import all kinds, and make the validators of all of them.
    """

    catalogue: Catalogue[Any]
    by_name: bool

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.with_info_plain_validator_function(self._checked)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        del schema
        kinds = self.catalogue.kinds
        union: Any = Annotated[Union[tuple(kinds.values())], Field(discriminator="type")]  # noqa: UP007 - made at run time
        if self.by_name:
            names = tuple(name for name, kind in kinds.items() if not _needed(kind))
            union = union | Literal[names]
        return handler(TypeAdapter(union).core_schema)

    def _checked(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, self.catalogue.base):
            return value
        if self.by_name and isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, dict):
            raise PydanticKnownError("model_attributes_type")
        if "type" not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'type'"})
        name = str(value["type"])
        kind = self.catalogue.kind(name)
        if kind is None:
            known = ", ".join(map(repr, self.catalogue.kinds))
            raise PydanticKnownError(
                "union_tag_invalid", {"discriminator": "'type'", "tag": name, "expected_tags": known}
            )
        try:
            return kind.model_validate(value, context=info.context)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                kind.__name__, [_below(name, one) for one in error.errors()]
            ) from None


def _needed(kind: type[Section]) -> bool:
    return any(field.is_required() for name, field in kind.model_fields.items() if name != "type")


def _below(name: str, found: ErrorDetails) -> InitErrorDetails:
    """Returns a mistake in a section of the kind `name`: its place begins with the kind, as in a union."""
    # The text of a validator may quote a value: nothing in it is a place to fill.
    filled = None if found["type"] == "value_error" else found.get("ctx")
    same = PydanticCustomError(found["type"], found["msg"], filled)
    return InitErrorDetails(type=same, loc=(name, *found["loc"]), input=found["input"])


class _KindError(Exception):
    """A kind of another package cannot be used; the text has the reason."""


def _origin(found: EntryPoint) -> str:
    return f"{found.value} of {found.dist.name} {found.dist.version}" if found.dist else found.value
