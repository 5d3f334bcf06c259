"""Time: a cell unrolled over packed rows, and how rows are packed and padded."""
