"""The version of this deepblur, which imports nothing: any room may ask for it."""

__version__ = "0.1.0"
