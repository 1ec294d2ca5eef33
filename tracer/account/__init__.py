"""Where every event went."""
