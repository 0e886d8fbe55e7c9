"""The file source: a file or standard input with one message a line."""
