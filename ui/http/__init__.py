"""The model database over HTTP: FastAPI over the same questions that Python asks."""
