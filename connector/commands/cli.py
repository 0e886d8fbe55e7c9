"""The command line: clarify-connector."""

from __future__ import annotations

import gc
import importlib
import os
import traceback
from typing import Final

import click

from connector import ConnectorError, __version__
from connector.commands.without_rich import load_without_rich
from connector.terminal.text import say, shown, survive_any_encoding

BUG: Final = 70
"""The exit status after a bug: EX_SOFTWARE of sysexits.h."""
_COMMANDS: Final = {
    "backfill": "connector.commands.backfill:backfill",
    "check": "connector.commands.check:check",
    "data-frame": "connector.commands.clarify.data_frame:data_frame",
    "dead-letters": "connector.commands.dead_letters.cli:dead_letters",
    "demo": "connector.demo.cli:demo",
    "doctor": "connector.commands.doctor.cli:doctor",
    "drain": "connector.commands.drain:drain",
    "health": "connector.commands.health:health",
    "init": "connector.commands.try_out.init:init",
    "insert": "connector.commands.clarify.insert:insert",
    "items": "connector.commands.clarify.resources:items",
    "journal": "connector.commands.journal:journal",
    "ledger": "connector.commands.ledger:ledger",
    "log-level": "connector.commands.log_level:log_level",
    "metadata": "connector.commands.metadata:metadata",
    "new-signals": "connector.commands.new_signals:new_signals",
    "preview": "connector.commands.try_out.preview_command:preview",
    "probe": "connector.commands.probe.cli:probe",
    "publish": "connector.commands.clarify.publish:publish",
    "record": "connector.commands.try_out.record:record",
    "run": "connector.commands.run:run",
    "sandbox": "connector.sandbox.cli:sandbox",
    "schema": "connector.commands.schema:schema",
    "silent": "connector.commands.silent:silent",
    "signals": "connector.commands.clarify.resources:signals",
    "tags": "connector.commands.try_out.tags:tags",
    "tap": "connector.commands.live.tap:tap",
    "test": "connector.commands.try_out.run_tests:test",
    "top": "connector.commands.live.top:top",
}
"""Command → module of the command. Only the named command is imported: `health` runs every 30 s and must be quick."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the list is the same in every context
        return list(_COMMANDS)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and return the result of the command.

        An error that a person can mend is printed as one message. Every other error is a bug of the connector. A
        message may quote a topic, or the answer of a server. So a message is always one line, unless the error has
        several `lines`.
        """
        try:
            return super().invoke(ctx)
        except ConnectorError as error:
            raise click.ClickException(_message(error, str(error))) from None
        except click.ClickException as error:
            error.message = _message(error, error.message)  # type: ignore[misc]
            raise
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception:  # noqa: BLE001 - every other error is a bug
            # The traceback has no local variables, which may hold a secret. The lines are indented: a text that an
            # error quotes must not look like a line of the connector.
            for line in traceback.format_exc().rstrip().split("\n"):
                say(f"  {line}", err=True)
            say("", err=True)
            say(
                f"This is a bug in clarify-connector {__version__}. Please report it in the project's issue tracker, "
                "with the lines above.",
                err=True,
            )
            ctx.exit(BUG)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = _COMMANDS[cmd_name].partition(":")
        if cmd_name != "health":
            load_without_rich("structlog")
        gc.set_threshold(50_000)  # what a command loads stays: a search for garbage in it takes a tenth of the time
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


def _message(error: Exception, text: str) -> str:
    return "\n".join(map(shown, getattr(error, "lines", [text])))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Carry MQTT and Kafka data into Clarify: every measurement at least once, and stored once."""
    os.umask(0o077)  # files of a command may hold data of devices, or secrets: only their owner may read them
    survive_any_encoding()
    if ctx.invoked_subcommand == "health":
        return  # which logs nothing, and the library of the log takes a third of the time of a check
    from connector.observe.logs import configure_logs  # noqa: PLC0415 - loads the library of the log

    configure_logs("info", "text")  # until a command changes the level: the library's defaults may show variables
