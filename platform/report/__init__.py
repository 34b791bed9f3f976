"""Tables, figures, numbers and the one page that every kind of result is shown on.

Uses `evaluation`, `stages` and what lies below them.
"""
