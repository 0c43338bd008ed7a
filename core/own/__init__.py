"""A user's own tables, images and arrays as datasets."""
