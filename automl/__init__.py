"""AutoML over research papers: search their architectures, keep every model, ship the winner."""
