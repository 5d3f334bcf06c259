"""The ledger of claims, and the numbered equations of the reference."""
