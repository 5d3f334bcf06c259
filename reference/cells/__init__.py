"""One step of each cell and its adjoint, and the table of the cells."""
