"""Processes: workers, their threads, and what an interrupt ends."""
