"""Long streams: truncated backpropagation, reset masks, states kept by stream id, chunks."""
