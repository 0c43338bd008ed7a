"""A model in a headset: a WebXR page, and a package for Unity."""
