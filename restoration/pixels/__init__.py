"""Pixels that tell nothing of the scene, found or marked, and what takes their place."""
