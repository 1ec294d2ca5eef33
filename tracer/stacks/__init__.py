"""Call stacks and the names of their frames."""
