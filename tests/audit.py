"""The audit of what this project depends on: `make audit`.

Without any network: the lock files are complete, agree with pyproject.toml and with each other, and pin and hash all of
it. With it: pip-audit and npm ask their advisory services. A vulnerability that nobody has accepted (see
.ci/accepted-advisories.toml) is a failure; a service that does not answer is said loudly, and is none, unless
AUDIT_REQUIRED=1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).parents[1]
ACCEPTED: Final = ROOT / ".ci" / "accepted-advisories.toml"
NPM_FOLDER: Final = ROOT / "tests" / "js"
_SERVICES: Final = ("pypi", "osv")
_SECONDS: Final = 60.0
_ALL_SECONDS: Final = 180.0
"""For all questions together: an audit must not hold CI up."""
_ATTEMPTS: Final = 2
_HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_NPM_HASH: Final = re.compile(r"sha512-[A-Za-z0-9+/]{86}==")


class UnreachableError(Exception):
    """The service gave no answer that says anything."""


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """An advisory about a package of a lock file."""

    package: str
    version: str
    ids: frozenset[str]
    fixed_in: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {', '.join(sorted(self.ids))} (fixed in: {self.fixed_in or 'nothing'})"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An advisory that does not concern us, why, and until when somebody has to look again."""

    id: str
    package: str
    reason: str
    until: date


# -- without any network ---------------------------------------------------------------------------


def locked(text: str) -> dict[str, tuple[str, str]]:
    """Name → (version, what is wrong with its line or '') of a lock file."""
    found = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text).strip()):
        requirement = Requirement(entry.split("\\\n")[0].split(" --hash")[0].strip())
        pinned = [each.version for each in requirement.specifier if each.operator in ("==", "===")]
        wrong = "" if len(pinned) == 1 and "*" not in pinned[0] else "is not pinned to one version"
        if requirement.url:
            wrong = "comes from an address instead of an index"
        elif not _HASH.search(entry):
            wrong = wrong or "has no hash"
        found[canonicalize_name(requirement.name)] = (pinned[0] if pinned else "", wrong)
    return found


def lock_problems(project: Mapping[str, Any], lock: str, dev_lock: str) -> Iterator[str]:
    """What is wrong with the lock files of this pyproject.toml."""
    small, large = locked(lock), locked(dev_lock)
    for name, entries in (("requirements.lock", small), ("requirements-dev.lock", large)):
        yield from (f"{name}: {package} {wrong}" for package, (_, wrong) in entries.items() if wrong)
    for package, (version, _) in small.items():
        other = large.get(package, ("nothing", ""))[0]
        if other != version:
            yield f"{package} is {version} in requirements.lock and {other} in requirements-dev.lock: make lock"
    needed = project["project"].get("dependencies", [])
    yield from _not_met(needed, small, "requirements.lock")
    groups = project.get("dependency-groups", {}).values()
    more = [*project["project"].get("optional-dependencies", {}).values(), *groups]
    yield from _not_met([*needed, *(each for group in more for each in group)], large, "requirements-dev.lock")


def _not_met(wanted: Iterable[object], entries: Mapping[str, tuple[str, str]], file: str) -> Iterator[str]:
    for text in wanted:
        if not isinstance(text, str):
            continue  # another group is included, which is looked at by itself
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name == canonicalize_name("clarify-connector"):
            continue  # our own extras
        version = entries.get(name, ("", ""))[0]
        if not version:
            yield f"{file} lacks {requirement.name}: make lock"
        elif not requirement.specifier.contains(Version(version), prereleases=True):
            wanted_now = f"pyproject.toml wants {requirement.specifier}"
            yield f"{file} has {requirement.name} {version}, but {wanted_now}: make lock"


def npm_lock_problems(package: Mapping[str, Any], lock: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with npm's lock file."""
    entries: Mapping[str, Mapping[str, Any]] = lock["packages"]
    for name, entry in entries.items():
        if name and not _NPM_HASH.search(str(entry.get("integrity", ""))):
            yield f"package-lock.json: {name} has no hash"
    for kind in ("dependencies", "devDependencies"):
        if package.get(kind, {}) != entries[""].get(kind, {}):
            yield f"package-lock.json and package.json do not agree on {kind}: npm install"


def accepted_advisories(text: str, today: date) -> tuple[list[Accepted], list[str]]:
    """The list of accepted advisories, and what is wrong with it."""
    found, wrong = [], []
    for entry in tomllib.loads(text).get("accepted", []):
        missing = {"id", "package", "reason", "until"} - entry.keys()
        if missing or not isinstance(entry["until"], date) or not str(entry["reason"]).strip():
            wrong.append(f"{ACCEPTED.name}: {entry} needs id, package, reason and until (a date)")
            continue
        one = Accepted(entry["id"], canonicalize_name(entry["package"]), entry["reason"], entry["until"])
        found.append(one)
        if one.until < today:
            wrong.append(f"{ACCEPTED.name}: {one.id} ({one.package}) was accepted until {one.until}: look at it again")
    return found, wrong


# -- what the services say -------------------------------------------------------------------------


def pip_answer(output: str) -> tuple[list[Vulnerability], int, list[str]]:
    """(vulnerabilities, packages that were looked up, names of those the service does not know) in pip-audit's JSON.
    Raises `UnreachableError` if it says nothing of any."""
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise UnreachableError("no answer that can be read") from None
    known = [each for each in dependencies if "skip_reason" not in each]
    if not known:
        raise UnreachableError("it knows none of the packages")
    found = [
        Vulnerability(
            canonicalize_name(each["name"]),
            each["version"],
            frozenset((advisory["id"], *advisory.get("aliases", ()))),
            ", ".join(advisory.get("fix_versions", ())),
        )
        for each in known
        for advisory in each["vulns"]
    ]
    return found, len(known), [each["name"] for each in dependencies if "skip_reason" in each]


def npm_answer(output: str) -> list[Vulnerability]:
    """The vulnerabilities in npm's JSON. Raises `UnreachableError`."""
    try:
        found = json.loads(output)["vulnerabilities"]
    except (ValueError, KeyError, TypeError):
        raise UnreachableError("no answer that can be read") from None
    return [
        Vulnerability(
            name,
            entry.get("range", ""),
            frozenset(
                advisory["url"].rpartition("/")[2] if "url" in advisory else str(advisory["source"])
                for advisory in entry["via"]
                if isinstance(advisory, dict)
            ),
            "" if entry.get("fixAvailable") is False else "a later version",
        )
        for name, entry in found.items()
        if any(isinstance(advisory, dict) for advisory in entry["via"])
    ]


def not_accepted(found: Iterable[Vulnerability], accepted: Iterable[Accepted]) -> list[Vulnerability]:
    """Those that nobody has accepted."""
    allowed = {(each.id, each.package) for each in accepted}
    return [each for each in found if not any((name, each.package) in allowed for name in each.ids)]


# -- asking them -----------------------------------------------------------------------------------


def ask_pip(lock: Path, until: float) -> tuple[list[Vulnerability], int, list[str]]:
    """What the first service that answers says. Raises `UnreachableError` with what each of them said."""
    failures = []
    for service in _SERVICES:
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15", "-s", service]
        for _ in range(_ATTEMPTS):
            try:
                return pip_answer(_run(command, ROOT, until))
            except UnreachableError as error:
                failure = f"{service}: {error}"
        failures.append(failure)
    raise UnreachableError("; ".join(failures))


def ask_npm(until: float) -> list[Vulnerability]:
    """What npm's service says. Raises `UnreachableError`."""
    for attempt in range(_ATTEMPTS):
        try:
            return npm_answer(_run(["npm", "audit", "--json", "--package-lock-only"], NPM_FOLDER, until))
        except UnreachableError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _run(command: list[str], folder: Path, until: float) -> str:
    seconds = min(_SECONDS, until - time.monotonic())
    if seconds <= 0:
        raise UnreachableError("there was no time left")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    except FileNotFoundError:
        raise UnreachableError(f"there is no {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"no answer within {seconds:.0f} s") from None
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UnreachableError(
            last if len(last) < 100 else f"{last.partition(':')[0][:100]}: the service cannot be asked"
        )
    return done.stdout


def main() -> int:
    """Everything; the exit status."""
    problems = list(
        lock_problems(
            tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")),
            (ROOT / "requirements.lock").read_text(encoding="utf-8"),
            (ROOT / "requirements-dev.lock").read_text(encoding="utf-8"),
        )
    )
    package, npm_lock = (json.loads((NPM_FOLDER / f"package{part}.json").read_text()) for part in ("", "-lock"))
    problems += npm_lock_problems(package, npm_lock)
    accepted, wrong = accepted_advisories(ACCEPTED.read_text(encoding="utf-8"), datetime.now(UTC).date())
    problems += wrong
    if not problems:
        print("audit: the lock files are complete, pinned and hashed, and agree with pyproject.toml and package.json")
    unreachable = []
    until = time.monotonic() + _ALL_SECONDS
    found: list[Vulnerability] = []
    try:
        vulnerable, looked_up, unknown = ask_pip(ROOT / "requirements-dev.lock", until)
        found += vulnerable
        print(f"audit: {looked_up} Python packages looked up, {len(vulnerable)} advisories about them")
        if unknown:
            unreachable.append(f"advisories about {', '.join(unknown)}: the service does not know them")
    except UnreachableError as error:
        unreachable.append(f"advisories about Python packages ({error})")
    try:
        vulnerable = ask_npm(until)
        found += vulnerable
        print(f"audit: npm packages looked up, {len(vulnerable)} advisories about them")
    except UnreachableError as error:
        unreachable.append(f"advisories about npm packages ({error})")
    problems += [f"VULNERABLE: {each}" for each in not_accepted(found, accepted)]
    for problem in problems:
        print(f"audit: {problem}")
    for what in unreachable:
        print(f"audit: WARNING: NOT AUDITED: {what}")
    if problems:
        return 1
    if unreachable and os.environ.get("AUDIT_REQUIRED") == "1":
        print("audit: AUDIT_REQUIRED=1, so what was not audited is a failure")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
