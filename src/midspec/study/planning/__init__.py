"""What a run would do and cost, and what is refused before anything runs."""
