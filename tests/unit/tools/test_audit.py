"""The audit finds what it is for: holes in the lock files, vulnerabilities that nobody accepted; and says what it could
not ask."""

from __future__ import annotations

import json
from datetime import date

import pytest

from tests.audit import (
    UnreachableError,
    Vulnerability,
    accepted_advisories,
    lock_problems,
    locked,
    not_accepted,
    npm_answer,
    npm_lock_problems,
    pip_answer,
)

HASH = f"--hash=sha256:{'a' * 64}"
LOCK = f"# by uv\nhttpx==0.28.1 \\\n    {HASH} \\\n    {HASH}\n    # via x\n"
DEV = f"{LOCK}pytest==8.4 ; python_version >= '3.11' \\\n    {HASH}\n    # via y\n"
PROJECT = {"project": {"dependencies": ["httpx>=0.28"]}, "dependency-groups": {"test": ["pytest>=8.3"]}}


def test_lock_files_that_are_as_they_should_be() -> None:
    assert list(lock_problems(PROJECT, LOCK, DEV)) == []
    assert locked(DEV) == {"httpx": ("0.28.1", ""), "pytest": ("8.4", "")}


@pytest.mark.parametrize(
    ("lock", "dev", "problem"),
    [
        (LOCK.replace("==", ">="), DEV, "requirements.lock: httpx is not pinned to one version"),
        (LOCK.replace("0.28.1", "0.28.*"), DEV, "requirements.lock: httpx is not pinned to one version"),
        (LOCK, DEV.replace(HASH, "--hash=md5:0"), "requirements-dev.lock: pytest has no hash"),
        (f"{LOCK}x @ https://example.com/x.whl \\\n    {HASH}\n", DEV, "x comes from an address"),
        (LOCK, DEV.replace("0.28.1", "0.28.2"), "httpx is 0.28.1 in requirements.lock and 0.28.2"),
        (LOCK, LOCK, "requirements-dev.lock lacks pytest: make lock"),
        (f"# nothing\nx==1 \\\n    {HASH}\n", DEV, "requirements.lock lacks httpx: make lock"),
        (LOCK, DEV.replace("8.4", "7.0"), "has pytest 7.0, but pyproject.toml wants >=8.3"),
    ],
)
def test_holes_in_the_lock_files(lock: str, dev: str, problem: str) -> None:
    assert any(problem in found for found in lock_problems(PROJECT, lock, dev))


def test_holes_in_npms_lock_file() -> None:
    good = {"packages": {"": {"dependencies": {"a": "1"}}, "node_modules/a": {"integrity": f"sha512-{'A' * 86}=="}}}
    assert list(npm_lock_problems({"dependencies": {"a": "1"}}, good)) == []
    bad = {"packages": {"": {}, "node_modules/a": {}}}
    assert list(npm_lock_problems({"dependencies": {"a": "1"}}, bad)) == [
        "package-lock.json: node_modules/a has no hash",
        "package-lock.json and package.json do not agree on dependencies: npm install",
    ]


def package(name: str, *ids: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "version": "1",
        "vulns": [{"id": i, "fix_versions": ["2"], "aliases": ["CVE-1"]} for i in ids],
        **more,
    }


def test_vulnerabilities_are_failures_unless_accepted() -> None:
    answer = json.dumps(
        {"dependencies": [package("Good"), package("bad_one", "PYSEC-1"), {"name": "x", "skip_reason": "-"}]}
    )
    found, looked_up, unknown = pip_answer(answer)
    assert (looked_up, unknown) == (2, ["x"])
    assert [str(each) for each in found] == ["bad-one 1: CVE-1, PYSEC-1 (fixed in: 2)"]
    text = '[[accepted]]\nid = "{}"\npackage = "{}"\nreason = "not called"\nuntil = 2027-01-31\n'
    for name, other, left in (("CVE-1", "bad_one", 0), ("CVE-2", "bad_one", 1), ("CVE-1", "good", 1)):
        accepted, wrong = accepted_advisories(text.format(name, other), date(2027, 1, 31))
        assert wrong == []
        assert len(not_accepted(found, accepted)) == left
    assert "look at it again" in accepted_advisories(text.format("a", "b"), date(2027, 2, 1))[1][0]
    assert "needs id" in accepted_advisories('[[accepted]]\nid = "a"\n', date(2027, 2, 1))[1][0]


def test_npms_vulnerabilities() -> None:
    via = [{"source": 1, "url": "https://example.com/advisories/GHSA-1"}, "other"]
    entry = {"via": via, "range": "<2", "fixAvailable": True}
    answer = {"vulnerabilities": {"a": entry, "on-top": {"via": ["a"], "range": "*"}}}
    assert npm_answer(json.dumps(answer)) == [Vulnerability("a", "<2", frozenset({"GHSA-1"}), "a later version")]
    assert npm_answer('{"vulnerabilities": {}}') == []


@pytest.mark.parametrize(
    "answer",
    ["", "<html>", "[]", "{}", '{"dependencies": []}', '{"dependencies": [{"name": "x", "skip_reason": "-"}]}'],
)
def test_what_says_nothing_is_no_answer(answer: str) -> None:
    with pytest.raises(UnreachableError):
        pip_answer(answer)
    with pytest.raises(UnreachableError):
        npm_answer(answer)
