"""Rollups of events: counts, rates and histograms, kept while a trace runs."""
