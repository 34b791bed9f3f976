"""Restoring images: an array or files in, the restored image, its blur and how far to believe them out.

Above `platform`, which trains and registers the models, and beside `studies`. `images` reads and writes files, the
`engines` identify and remove the blur of one grey image, the modules here take whole recordings through an engine,
`batch` is what the commands do, and `commands` holds their options.
"""
