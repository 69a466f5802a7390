"""TODO chats.template_author."""
