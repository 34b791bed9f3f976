"""Image files of any format: TIFF and pictures, and those of microscopes through the readers of their field."""
