"""Runs: cases examined, recorded, compared, and repeated under other versions."""
