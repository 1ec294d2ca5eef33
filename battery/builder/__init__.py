"""Objects compiled, checked and written into a battery."""
