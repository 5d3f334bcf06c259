"""Execution paths: which kernel runs a net, how it is called, and what it returns."""
