"""Cases, truth, the judge, and the command line that holds PyTorch against the reference."""
