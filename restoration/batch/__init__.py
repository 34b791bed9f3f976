"""Image files through an engine: what the commands do, with keywords; which result belongs to which image."""
