"""What a battery does on a kernel."""
