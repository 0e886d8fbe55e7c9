"""The command `probe`: asks a throw-away integration the questions that Clarify's documentation leaves open.

    questions  → session → line → Clarify        run: all questions in order, with a partial report after Ctrl-C
    answers → report (text, JSON) → apply        `sandbox --like REPORT` reads the member `sandbox` of the report

A question is a row of a table: stored.py (written, then read back), single.py (one or a few requests), limits.py (size
and rates).
"""
