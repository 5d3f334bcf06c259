"""Streams in torch: truncation, resets, and states kept by stream id."""
