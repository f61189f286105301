"""A look inside trained models: comparable samples, gates, gradient flow, embedding tables."""
