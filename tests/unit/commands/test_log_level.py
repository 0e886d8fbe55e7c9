"""The options of the log: a flag wins over the environment, and the environment over the file."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from connector.commands.log_level import log_level, log_options, with_log
from connector.config.model import Config

CONFIG = Config.model_validate(
    {
        "clarify": {"credentials": "c.json"},
        "sources": [{"type": "mqtt", "url": "mqtts://b", "topics": ["#"]}],
        "observe": {"log_level": "error", "log_format": "json"},
    }
)
NAMES = ("CLARIFY_CONNECTOR_LOG_LEVEL", "CLARIFY_CONNECTOR_LOG_FORMAT")


@click.command()
@log_options
def shows(log_level: str | None, log_format: str | None) -> None:
    """Show what counts."""
    observe = with_log(CONFIG, log_level, log_format).observe
    click.echo(f"{observe.log_level} {observe.log_format}")


@pytest.mark.parametrize(
    ("flags", "environment", "shown"),
    [
        ([], {}, "error json"),
        ([], {NAMES[0]: "warning", NAMES[1]: "text"}, "warning text"),
        (["--log-level=debug"], {NAMES[0]: "warning", NAMES[1]: "text"}, "debug text"),
        (["--log-format=json"], {NAMES[1]: "text"}, "error json"),
    ],
)
def test_a_flag_wins_and_then_the_environment(flags: list[str], environment: dict[str, str], shown: str) -> None:
    result = CliRunner(env=dict.fromkeys(NAMES) | environment).invoke(shows, flags)
    assert result.output == f"{shown}\n"


def test_what_is_no_level_is_refused_with_the_name_of_the_variable() -> None:
    result = CliRunner(env={NAMES[0]: "loud"}).invoke(shows)
    assert result.exit_code == 2
    assert "CLARIFY_CONNECTOR_LOG_LEVEL" in result.output
    assert "'loud' is not one of 'debug', 'info', 'warning', 'error'" in result.output


def test_what_is_no_duration_is_refused() -> None:
    result = CliRunner().invoke(log_level, ["c.yaml", "debug", "--for", "10"])
    assert result.exit_code == 2
    assert "write for example 500ms, 2s, 5m, 1h or 7d" in result.output
