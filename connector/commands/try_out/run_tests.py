"""The command `test`: runs a person's tests of a mapping."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree as ET

import click

from connector import ConnectorError
from connector.commands.try_out.options import CONFIG
from connector.config.read import load_config, rule_lines
from connector.formats.format import SchemaUnavailableError
from connector.observe.logs import configure_logs
from connector.terminal.paths import UserPath
from connector.terminal.tables import write_json
from connector.terminal.text import shown, write_line
from connector.try_out.cases import find_cases, load_cases
from connector.try_out.judge import CaseResult, Failure, run_case
from connector.try_out.mapping import RuleAt, TriedMapping


class _CannotRunError(click.ClickException):
    """The tests could not run, so there is no result."""

    exit_code = 2

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


@click.command()
@CONFIG
@click.argument("tests", metavar="[TESTS.yaml]...", nargs=-1, type=UserPath(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option(
    "--junit", type=UserPath(path_type=Path, dir_okay=False), help="Also write a JUnit XML report to this file."
)
@click.option("-v", "--verbose", is_flag=True, help="Also name the tests that pass.")
def test(config: Path, tests: tuple[Path, ...], as_json: bool, junit: Path | None, verbose: bool) -> None:
    """Run tests of the mapping of CONFIG.

    The tests need no network and no credentials, so a CI can run the tests. A test gives messages, and the samples or
    rejects that the test expects. Without TESTS.yaml, the command runs every file beside CONFIG whose name ends in
    -tests.yaml, except files whose setting config: names another configuration. The exit status is 0 if all tests pass,
    1 if a test fails, and 2 if the tests cannot run.
    """
    configure_logs("error", "text")
    try:
        loaded = load_config(config, without_secrets=True)
        files = [load_cases(path) for path in tests or find_cases(config)]
    except ConnectorError as error:
        raise _CannotRunError("the tests cannot be run", *getattr(error, "lines", [str(error)])) from None
    if not files:
        raise _CannotRunError(f"there is no file whose name ends in -tests.yaml beside {config}; name a file of tests")
    try:
        lines = rule_lines(config)
        rules = TriedMapping(config, loaded, lines, {}).rules
        placed = [one for file in files for one in file.cases]
        results = [run_case(TriedMapping(config, loaded, lines, {}), one) for one in placed]
    except ConnectorError as error:
        raise _CannotRunError(*getattr(error, "lines", [str(error)])) from None
    except SchemaUnavailableError as error:
        raise _CannotRunError(
            f"the tests cannot be run: {error}. Make the registry reachable from here, or run the connector once where "
            "the registry is reachable: state_dir keeps the schemas"
        ) from None
    touched = {number for result in results for number in result.rules}
    untested = [rule for rule in rules if rule.number not in touched]
    failed = sum(not result.passed for result in results)
    if junit is not None:
        try:
            _junit(config, results).write(junit, encoding="utf-8", xml_declaration=True)
        except OSError as error:
            raise _CannotRunError(f"{junit}: {error.strerror}") from None
    if as_json:
        write_json(_as_json(results, untested), sys.stdout)
    else:
        _write(config, results, untested, sys.stdout, verbose=verbose)
    if failed:
        sys.exit(1)


def _write(config: Path, results: list[CaseResult], untested: list[RuleAt], out: TextIO, *, verbose: bool) -> None:
    for result in results:
        placed = result.placed
        if result.passed:
            if verbose:
                write_line(out, f"ok    {placed.file}:{placed.line}: {placed.case.name}")
            continue
        write_line(out, f"FAIL  {placed.file}:{placed.line}: {placed.case.name}")
        for failure in result.failures:
            for line in _lines(config, failure):
                write_line(out, f"      {line}")
    failed = sum(not result.passed for result in results)
    if untested:
        listed = ", ".join(f"{rule.number} (line {rule.line}, {rule.topic})" for rule in untested)
        write_line(out, f"rules that no test's message reaches: {listed}")
    write_line(out, f"{len(results) - failed} passed, {failed} failed")


def _lines(config: Path, failure: Failure) -> list[str]:
    rules = " and ".join(f"rule {rule.number} ({config}:{rule.line})" for rule in failure.rules)
    taken = f", taken by {rules}" if rules else ""
    return [f"{failure.where}{taken}: - expected, + came", *(f"  {difference}" for difference in failure.differences)]


def _as_json(results: list[CaseResult], untested: list[RuleAt]) -> dict[str, object]:
    failed = sum(not result.passed for result in results)
    return {
        "passed": len(results) - failed,
        "failed": failed,
        "tests": [
            {
                "name": result.placed.case.name,
                "file": str(result.placed.file),
                "line": result.placed.line,
                "passed": result.passed,
                "failures": [
                    {
                        "where": failure.where,
                        "rules": [{"number": rule.number, "line": rule.line} for rule in failure.rules],
                        "differences": [str(difference) for difference in failure.differences],
                    }
                    for failure in result.failures
                ],
            }
            for result in results
        ],
        "untested_rules": [{"number": rule.number, "line": rule.line, "topic": rule.topic} for rule in untested],
    }


def _junit(config: Path, results: list[CaseResult]) -> ET.ElementTree[ET.Element]:
    failed = sum(not result.passed for result in results)
    suites = ET.Element("testsuites", tests=str(len(results)), failures=str(failed))
    suite = ET.SubElement(suites, "testsuite", name="mapping", tests=str(len(results)), failures=str(failed))
    for result in results:
        placed = result.placed
        case = ET.SubElement(
            suite,
            "testcase",
            classname=placed.file.stem,
            name=shown(placed.case.name),  # XML cannot hold control characters
            file=str(placed.file),
            line=str(placed.line),
        )
        if not result.passed:
            lines = (shown(line) for failure in result.failures for line in _lines(config, failure))
            ET.SubElement(case, "failure", message="the samples differ").text = "\n".join(lines)
    return ET.ElementTree(suites)
