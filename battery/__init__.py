"""battery."""
