"""Pictures of a benchmark: what the models reach, and what is inside them."""
