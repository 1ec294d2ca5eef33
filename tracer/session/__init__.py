"""Programs loaded and attached, and their records read."""
