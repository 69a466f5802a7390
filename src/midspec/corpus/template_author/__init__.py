"""The template author: documents that arrange a spec's own sentences by a document style; needs no model."""
