"""Reports and flame graphs as HTML pages."""
