"""What decides which tokens go on, and what it costs."""
