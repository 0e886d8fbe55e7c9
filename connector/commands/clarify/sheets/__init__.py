"""Reads CSV as spreadsheet programs write it in any language: what is certain is told apart, the rest is refused."""
