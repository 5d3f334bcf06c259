"""The hunt: random programs over torch's roads around recurrent nets, judged and made smaller."""
