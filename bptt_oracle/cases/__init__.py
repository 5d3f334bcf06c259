"""Cases: descriptions of computations, and the corpus of them that checks and records use."""
