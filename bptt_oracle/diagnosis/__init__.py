"""The mistake by name: wrong results are compared with what known mistakes would have given."""
