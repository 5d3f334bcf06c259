"""Linear recurrences in torch."""
