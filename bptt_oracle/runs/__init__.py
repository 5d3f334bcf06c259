"""Examine cases, record the results in a file, and compare files and versions of torch."""
