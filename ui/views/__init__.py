"""One module per page; each has a ``show`` that draws it."""
