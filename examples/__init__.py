"""Example programs: python -m examples.character_lm, python -m examples.sum_mod_10."""

import os

for library in ("OMP", "OPENBLAS", "MKL"):  # small matrices are faster on one thread
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
