"""A calibrated microscope: from beads to a family of operators.

Uses `models`, `training` and what lies below them.
"""
