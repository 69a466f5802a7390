"""TODO corpus.llm_author."""
