"""A trained model as files for other software: ONNX, torch's exported programs, bioimage.io packages.

Uses `models`, `registry` and what lies below them.
"""
