"""`python -m connector` is `clarify-connector`."""

from connector.cli import main

main(prog_name="clarify-connector")
