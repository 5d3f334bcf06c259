"""Packing and checkpointing by torch's own functions."""
