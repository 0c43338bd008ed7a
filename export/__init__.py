"""Turn a trained model into verified runtime artifacts."""
