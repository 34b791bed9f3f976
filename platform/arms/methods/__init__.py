"""Methods under comparison: where a PSF comes from, and what restores with it."""
