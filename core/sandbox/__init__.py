"""Runs code that nobody vouches for, in a process of its own that the kernel keeps in bounds."""
