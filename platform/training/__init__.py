"""What is trained, and the trainer: one ordinary function, with or without Ray, that resumes bit for bit.

Imports neither Ray nor MLflow. Uses `models`, `stages`, `evaluation` and what lies below them.
"""
