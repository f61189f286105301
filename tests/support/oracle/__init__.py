"""What is right for an input, in plain Python."""
