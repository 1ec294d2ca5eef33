"""Processes of ours with fewer privileges."""
