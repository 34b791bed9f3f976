"""A user's image file, read frame by frame and written back as what it was."""
