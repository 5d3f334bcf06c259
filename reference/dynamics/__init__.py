"""Gradients and states over many steps: products, bounds, memory, linear nets."""
