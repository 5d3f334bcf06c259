"""The reference's nets run by PyTorch, under the same names."""
