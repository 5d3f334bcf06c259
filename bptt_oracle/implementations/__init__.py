"""Implementations: what is judged, and what it answers to calls that describe no computation."""
