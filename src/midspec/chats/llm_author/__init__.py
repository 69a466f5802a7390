"""TODO chats.llm_author."""
