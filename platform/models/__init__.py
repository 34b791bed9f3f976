"""A trained model as a thing: its folder and description, its calibration, its card, the weights that ship.

Beside them what is known of a result: its uncertainty, whether to believe it, and what keeps its light.

Uses `operators`, `nets`, `baselines`, `evaluation` and what lies below it. Knows neither MLflow nor Ray.
"""
