"""The judge: truth, noise, the ratio R, verdicts, and known deviations."""
