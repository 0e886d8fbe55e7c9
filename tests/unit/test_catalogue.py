"""Kinds of other packages: found by their entry points, and told apart from those that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pytest
from pydantic import Field

from connector.config.read import catalogues
from connector.settings import Catalogue, Section
from tests.packages import made_up


class Kind(Section):
    type: str = Field(description="The kind.")


class BuiltIn(Kind):
    type: Literal["built_in"] = Field(description="It is built in.")


GOOD = """
from typing import Literal
from tests.unit.test_catalogue import Kind
class Good(Kind):
    type: Literal["good"]
    size: int = 1
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that are installed."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def catalogue() -> Catalogue[Kind]:
    return Catalogue("clarify_connector.tests", Kind, {"built_in": "tests.unit.test_catalogue:BuiltIn"})


def test_each_built_in_kind_has_the_name_by_which_it_is_found() -> None:
    for what, one in catalogues().values():
        for name, kind in one.kinds.items():
            assert get_args(kind.model_fields["type"].annotation) == (name,), what


def test_a_kind_of_another_package_is_one_like_the_built_in_ones(site: Path) -> None:
    made_up(site, "catalogue_good", GOOD, tests="good = catalogue_good:Good")
    found = catalogue()
    assert list(found.kinds) == ["built_in", "good"]
    assert found.kinds["good"].model_validate({"type": "good", "size": 7}).model_dump() == {"type": "good", "size": 7}
    assert found.broken == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("good", "from typing", "import no_such_module\nfrom typing", "ModuleNotFoundError: No module named 'no_such"),
        ("good", "class Good", "raise RuntimeError('a bug')\nclass Good", "RuntimeError: a bug"),
        ("good", "class Good", "class Bad", "AttributeError: module 'catalogue_bad' has no attribute 'Good'"),
        ("good", "class Good(Kind)", "class Good", "not a subclass of tests.unit.test_catalogue.Kind"),
        ("good", "class Good(Kind)", "Good = 7\nclass Bad(Kind)", "not a subclass of tests.unit.test_catalogue.Kind"),
        ("other", "", "", "entry point is called 'other', so the type must be Literal['other']"),
        ("good", 'Literal["good"]', "str", "the type must be Literal['good']"),
        ("good", 'Literal["good"]', 'Literal["good", "better"]', "the type must be Literal['good']"),
        (
            "good",
            "size: int = 1",
            "size: type(print)",
            "PydanticSchemaGenerationError: Unable to generate pydantic-core ",
        ),
        (
            "good",
            "size: int = 1",
            "size: __import__('typing').Callable = print",
            "PydanticInvalidForJsonSchema: Cannot",
        ),
        ("built_in", "", "", "'built_in' is a built-in kind"),
    ],
)
def test_a_kind_that_cannot_be_used_costs_only_itself(
    site: Path, name: str, old: str, new: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "catalogue_bad", raising=False)
    made_up(site, "catalogue_bad", GOOD.replace(old, new, 1), tests=f"{name} = catalogue_bad:Good")
    found = catalogue()
    assert list(found.kinds) == ["built_in"]
    assert found.broken[name].startswith("catalogue_bad:Good of catalogue-bad 1.2 cannot be used: ")
    assert words in found.broken[name]
    assert "\n" not in found.broken[name]


def test_two_packages_with_one_name_are_both_refused(site: Path) -> None:
    """Which of them was meant cannot be told."""
    made_up(site, "catalogue_one", GOOD, tests="good = catalogue_one:Good")
    made_up(site, "catalogue_two", GOOD, tests="good = catalogue_two:Good")
    found = catalogue()
    assert list(found.kinds) == ["built_in"]
    assert "catalogue-one 1.2 and catalogue_two:Good of catalogue-two 1.2" in found.broken["good"]
    assert "uninstall all packages but one" in found.broken["good"]
