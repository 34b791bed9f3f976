"""The grid that is measured on, the scores, and their intervals and tests.

Uses `data` and what lies below it.
"""
