"""Events as text, JSON lines and counts."""
