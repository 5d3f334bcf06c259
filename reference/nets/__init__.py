"""Whole nets: layers, directions, layouts, parameters, and the arguments they reject."""
