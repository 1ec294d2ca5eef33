"""Rollups of events as they come."""
