"""Runs code that nobody vouches for, in a process of its own that the kernel keeps in bounds."""

from automl.core.sandbox import policy

__all__ = ["policy"]
