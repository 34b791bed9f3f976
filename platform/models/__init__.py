"""A trained model as a thing: its folder and description, its calibration, its card, the weights that ship.

Uses `operators`, `nets`, `baselines`, `evaluation` and what lies below it. Knows neither MLflow nor Ray.
"""
