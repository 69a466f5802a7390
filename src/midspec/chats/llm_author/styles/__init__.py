"""TODO chats.llm_author.styles."""
