"""TODO llm.providers."""
