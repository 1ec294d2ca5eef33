"""What the running kernel has."""
