"""A model of the kernel's verifiers: the oldest kernel that takes an object."""
