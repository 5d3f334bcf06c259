"""Scripts to run and to read: python -m examples.character_lm, python -m examples.sum_mod_10."""

import os

for library in ("OMP", "OPENBLAS", "MKL"):  # the matrices are small: threads would only wait
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
