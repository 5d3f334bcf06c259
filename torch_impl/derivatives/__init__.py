"""Jacobians and second derivatives by torch's autograd."""
