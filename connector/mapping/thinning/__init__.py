"""Thinning: fewer samples by dead bands, intervals and windows."""
