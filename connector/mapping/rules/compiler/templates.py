"""The templates of one rule: the variables that they may use, and the name of the field at the start of each error."""

from __future__ import annotations

from collections.abc import Mapping

from connector.mapping.rules.rules import template_for
from connector.mapping.rules.templates import ITEM_VARIABLES, VALUE_VARIABLES, Labels, Template
from connector.mapping.rules.topics import TopicPattern

HeaderPatterns = tuple[tuple[str, TopicPattern], ...]


class RuleTemplates:
    """Parses the templates of one rule. The templates may use the named levels of this rule."""

    def __init__(self, names: tuple[str, ...], *, items: bool) -> None:
        """`names` are the named levels; with `items` the templates may also use the variables of an item."""
        self._names = names
        self._items = items

    def of(self, field: str, text: str | None, more: tuple[str, ...] = ()) -> Template | None:
        """Returns the template of `text`, or None without a text.

        In a rule with items, it may use variables that begin with one of `more`. Raises ValueError: `field` and the
        reason.
        """
        if text is None:
            return None
        try:
            return template_for(self._names, text, items=self._items, more=more if self._items else ())
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None

    def labels(self, field: str, texts: Mapping[str, str], more: tuple[str, ...] = ()) -> Labels:
        """The templates of several texts, as pairs of key and template. Raises ValueError that begins with `field`
        and the key."""
        found = []
        for key, text in texts.items():
            template = self.of(f"{field}.{key}", text, more)
            assert template is not None  # noqa: S101 - there is a text
            found.append((key, template))
        return tuple(found)


def level_names(pattern: TopicPattern, key: TopicPattern | None, headers: HeaderPatterns) -> list[str]:
    """The named levels of a rule's topic, key and headers, in this order.

    Raises ValueError for a name that templates use for something else, and for a name that stands twice.
    """
    names: list[str] = []
    for where, found in (("topic", pattern), ("key", key), *((f"headers.{name}", p) for name, p in headers)):
        for name in found.names if found else ():
            if name in (*VALUE_VARIABLES, *ITEM_VARIABLES):
                raise ValueError(f"{where}: {{{name}}} has another meaning in templates; give the level another name")
            if name in names:
                raise ValueError(f"{where}: {{{name}}} is a level of the topic already; give this level another name")
            names.append(name)
    return names
