"""A model as a static web page, run and proven in a real browser."""
