"""Cases: descriptions of computations, and the corpus made of them."""
