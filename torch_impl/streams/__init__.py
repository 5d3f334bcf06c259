"""Streams in torch: truncation, resets, and states stored by stream id."""
