"""TODO corpus.template_author."""
