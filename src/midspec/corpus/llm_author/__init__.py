"""Write documents with a language model: it invents document types and ideas, and writes in full."""
