"""`python -m connector` is `clarify-connector`."""

from connector.commands.cli import main

main(prog_name="clarify-connector")
