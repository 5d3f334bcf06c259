"""Judge torch's optimisers and its clipping by the derivations of `reference.models.optim`.

    cases        what an optimiser is run on: options, layouts, steps, start
    rounded      arrays and numbers whose operations round, or are moved by a unit roundoff
    expectation  the true parameters and states, and their noise
    examine      run every form of torch's optimiser on a case, and judge it
    clipping     the same for clip_grad_norm_ and clip_grad_value_

Page: docs/optimizers/optimizers.md
"""
