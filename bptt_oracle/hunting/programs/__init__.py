"""Programs: their fields, their layouts in memory, how they are written, run and judged."""
