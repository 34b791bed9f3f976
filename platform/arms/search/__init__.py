"""Which settings to try next, and when a trial is not worth going on with: Optuna's samplers under comparison."""
