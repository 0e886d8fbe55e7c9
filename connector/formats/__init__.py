"""Payload bytes → documents: one file for each format, and the catalogue of all formats.

Knows: settings, records, exchange.
"""
