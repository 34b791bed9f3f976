"""Versions of models: published, found, served, and made champion through a gate of measurements.

Uses `models`, `tracking` and what lies below them.
"""
