"""Execution paths: which kernel runs a net, how the net is called, and what it returns."""
