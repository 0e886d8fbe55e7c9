"""Others attack: servers that follow a script of their own instead of a protocol."""
