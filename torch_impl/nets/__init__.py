"""Nets computed by torch.nn's modules, by a loop of cells, and in plain tensor operations."""
