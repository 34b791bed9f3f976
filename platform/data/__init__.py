"""Where sharp images come from, and how observations are made of them.

Uses `operators` and `system`.
"""
