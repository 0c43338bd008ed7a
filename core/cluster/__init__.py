"""Trials on the nodes of a Ray cluster. Nothing here imports Ray before a study asks for it."""
