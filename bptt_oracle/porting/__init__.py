"""Porting weights: how other frameworks store a recurrent net, and translation to torch's names."""
