"""`python -m connector.sandbox`: the sandbox without the rest of the connector."""

from connector.sandbox.cli import sandbox

if __name__ == "__main__":
    sandbox(prog_name="python -m connector.sandbox")
