"""Inputs and configs as nobody wants them, drawn from a seed, and what may become of them."""
