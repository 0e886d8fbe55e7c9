"""Fewer samples: dead bands, intervals and windows."""
