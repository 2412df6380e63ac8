"""What a run would be, before anything trains: where it lies, what it starts from, what it needs and what it costs."""
