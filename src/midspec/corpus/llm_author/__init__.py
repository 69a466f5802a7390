"""The author that is a language model: it invents document types and ideas, and writes in full."""
