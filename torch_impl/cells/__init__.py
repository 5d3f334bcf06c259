"""Cells that torch.nn does not have, written in torch."""
