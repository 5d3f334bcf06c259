"""Cells that torch.nn lacks, written in torch."""
