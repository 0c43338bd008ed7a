"""Several models of a study as one: chosen greedily on validation data, exported as one graph."""
