"""Kernels booted in QEMU to try a battery on them."""
