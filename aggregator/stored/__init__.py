"""Events as tables and files, and rollups of them."""
