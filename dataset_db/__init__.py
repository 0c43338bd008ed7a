"""The SQL data set of models."""
