"""The commands for people with images: options and help."""
