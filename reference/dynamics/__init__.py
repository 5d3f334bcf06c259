"""What gradients and states do over many steps: products, bounds, memory, linear nets."""
