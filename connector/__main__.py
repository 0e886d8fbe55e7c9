"""`python -m connector` runs `clarify-connector`."""

from connector.commands.cli import main

main(prog_name="clarify-connector")
