"""The unit of work that is done once: its key, its ledger, its heartbeat, its cost.

Knows no kind of study, neither MLflow nor Ray.
"""
