"""C and Python that the generator fills in."""
