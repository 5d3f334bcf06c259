"""Models around a recurrent net: layers, losses, optimisers, language models, attention."""
