"""Nets run by torch.nn's modules, by a loop of cells, and by hand."""
