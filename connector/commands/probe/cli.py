"""The command `probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import orjson

from connector.clarify import Credentials
from connector.clarify.limits import INPUT_ID
from connector.commands.probe import apply, report
from connector.commands.probe.answers import Question
from connector.commands.probe.line import HttpLine
from connector.commands.probe.run import QUESTIONS, Plan, Probe, plan
from connector.terminal.paths import UserPath
from connector.terminal.progress import progress_is_shown
from connector.terminal.text import say, say_text, shown

_INTERRUPTED: Final = 130


@click.command()
@click.argument("credentials", required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing before sending and before writing.")
@click.option("--skip", multiple=True, type=click.Choice([one.name for one in QUESTIONS]), metavar="QUESTION",
              help="Leave out this question. Can be repeated.")  # fmt: skip
@click.option("--second", metavar="FILE", help="Credentials of another throw-away integration: do both share a rate?")
@click.option("--prefix", metavar="TEXT", help="Beginning of all inputs.  [default: clarify-connector-probe/TIME/]")
@click.option("--max-requests", type=click.IntRange(1), default=250, show_default=True,
              help="Do not begin if more requests may be needed.")  # fmt: skip
@click.option("--max-signals", type=click.IntRange(1), default=20, show_default=True,
              help="Do not begin if more signals may be made.")  # fmt: skip
@click.option("--output", type=UserPath(path_type=Path, dir_okay=False), help="Write the report to this file, as JSON.")
@click.option("--from", "earlier", type=UserPath(path_type=Path, dir_okay=False), metavar="REPORT",
              help="Ask Clarify nothing: use this report, with --apply.")  # fmt: skip
@click.option("--apply", "config", type=UserPath(path_type=Path, dir_okay=False), metavar="CONFIG",
              help="Write the settings that follow into this configuration, after showing the difference.")  # fmt: skip
@click.option("--integration", metavar="NAME", help="With --apply, the integration of CONFIG that gets the settings. "
              "Required if CONFIG has several.")  # fmt: skip
@click.option("--ca-file", type=UserPath(path_type=Path, exists=True), help="PEM file of the certificates to trust.")
@click.option("--allow-insecure", is_flag=True, help="Accept credentials with an http:// address of another machine.")
def probe(credentials: str | None, dry_run: bool, yes: bool, skip: Sequence[str], prefix: str | None,
          second: str | None, max_requests: int, max_signals: int, output: Path | None, earlier: Path | None,
          config: Path | None, integration: str | None, ca_file: Path | None,
          allow_insecure: bool) -> None:  # fmt: skip
    """Ask Clarify the questions that its documentation leaves open.

    CREDENTIALS is the file of a THROW-AWAY integration: the probe makes signals and items, and goes over the documented
    limits where it measures them. Data of other integrations is not read.
    """
    if (credentials is None) == (earlier is None):
        raise click.UsageError("name either the credentials of a throw-away integration, or --from REPORT")
    if integration is not None and config is None:
        raise click.UsageError("--integration is a name in a configuration: add --apply CONFIG")
    if earlier is not None:
        if config is None:
            raise click.UsageError("--from REPORT needs --apply CONFIG")
        _apply(config, report.load(earlier), integration, yes=yes)
        return
    loaded = Credentials.load(str(credentials), allow_insecure=allow_insecure)
    other = None if second is None else _other(Credentials.load(second, allow_insecure=allow_insecure), loaded)
    start = prefix or f"clarify-connector-probe/{datetime.now(UTC):%Y%m%dT%H%M%SZ}/"
    planned = plan(start, skip)
    _check(planned, max_requests, max_signals)
    say(f"Integration {loaded.integration} at {loaded.api_url}")
    for text in report.plan_lines(planned, each=dry_run):
        say(text)
    if dry_run:
        return
    if not yes:
        click.confirm("Is this integration made for this probe alone?", abort=True)
    if config is not None:
        apply.needed(config, {}, integration)  # an error in the configuration is said before the probe, not after
    try:
        if output is not None:
            output.open("ab").close()  # as is a file that cannot be written
        with HttpLine(ca_file) as line:
            made = _run(Probe(line, loaded, planned, start, other))
        _write(made, output)
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file'}: {error.strerror or error}") from None
    if not made["complete"]:
        raise click.exceptions.Exit(_INTERRUPTED)
    if config is not None:
        _apply(config, made, integration, yes=yes)


def _write(made: Mapping[str, Any], output: Path | None) -> None:
    if output is not None:
        output.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
        say(f"{output} written", err=True)


def _other(second: Credentials, first: Credentials) -> Credentials:
    if second.api_url != first.api_url or second.integration == first.integration:
        raise click.UsageError("--second needs another integration at the same apiUrl")
    return second


def _check(planned: Plan, max_requests: int, max_signals: int) -> None:
    wrong = [key for key in planned.inputs if not INPUT_ID.match(key)]
    if wrong:
        raise click.UsageError(
            f"--prefix: {wrong[0]!r} is no input ID: use A-Z a-z 0-9 - _ : . # + / and less than 110"
        )
    for what, number, most in (
        ("requests", planned.requests, max_requests),
        ("signals", len(planned.inputs), max_signals),
    ):
        if number > most:
            raise click.ClickException(
                f"up to {number} {what} may be needed, and --max-{what} is {most}: leave out questions with --skip, "
                f"or raise --max-{what}"
            )


def _run(the_probe: Probe) -> Mapping[str, Any]:
    """The report of a run, which is not complete after Ctrl-C."""

    def progress(question: Question) -> None:
        if progress_is_shown():
            number = len(the_probe.found) + 1
            say(f"[{number}/{len(the_probe.plan.questions)}] {question.name}: {question.asks}", err=True)

    complete = True
    try:
        the_probe.run(progress, lambda found: say(report.answer_line(found)))
    except KeyboardInterrupt:
        complete = False
    made = report.document(the_probe, complete=complete)
    for line in report.end_lines(made):
        say(line)
    return made


def _apply(config: Path, made: Mapping[str, Any], integration: str | None, *, yes: bool) -> None:
    changes = apply.needed(config, made["connector"], integration)
    if not changes:
        say(f"{config}: nothing to change")
        return
    before, after = apply.changed(config, changes)
    say_text(apply.difference(config, before, after))
    for change in changes:
        if change.others:
            say(f"{change.name} also counts for the integrations {', '.join(change.others)}")
    if not yes:
        click.confirm(f"Write this into {shown(str(config))}?", abort=True)
    apply.write(config, after)
    say(f"{config} written", err=True)
