"""Chats by a language model, kept or rejected by a judge."""
