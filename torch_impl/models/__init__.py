"""The models of the reference, written in torch."""
