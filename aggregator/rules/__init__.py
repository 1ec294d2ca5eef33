"""Rules over events, and their alerts."""
