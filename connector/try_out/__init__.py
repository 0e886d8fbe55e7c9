"""Seeing what a mapping does before anything is sent: preview, record, test and init. Writes nothing to Clarify."""
