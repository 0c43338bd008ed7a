"""The engine: contract, discovery, search. Knows no paper, no database, no screen."""
