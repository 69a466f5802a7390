"""Write documents without a model: a spec's own sentences, arranged by a document style."""
