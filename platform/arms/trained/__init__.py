"""Arms that train networks: identification, deblurring, both, and restorers without an operator."""
