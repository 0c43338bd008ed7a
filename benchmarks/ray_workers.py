"""Trials per minute with two workers on a local Ray cluster against one, as ``workers`` does it."""

from __future__ import annotations

from workers import main

if __name__ == "__main__":
    main("ray", "Ray workers")
