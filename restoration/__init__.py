"""Restoring images: an array or files in, the restored image, its blur and how far to believe them out.

Above `platform`, which trains and registers the models, and beside `studies`. `images` reads and writes files, `batch`
is what the commands do, `commands` holds their options; the modules here take an array through an engine.
"""
