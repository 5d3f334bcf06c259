"""torch's optimisers in every form that they have, on parameters and gradients of every layout."""
