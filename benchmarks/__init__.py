"""How fast the reference is: `python -m benchmarks`, against torch and against bare products.

Four contestants do the same work on one thread, over the same arrays:

    ours     reference.RNN, GRU, LSTM: forward, then backward for a random d_output
    torch    torch.nn.RNN, GRU, LSTM: forward, then autograd's gradients of x and every parameter
    floor    only the matrix products that both need, through NumPy's BLAS:
             x W_ihᵀ once, h W_hhᵀ and δ W_hh at each step, δᵀx, δᵀh, δ W_ih once
    least    the floor, and NumPy's exp for each σ and NumPy's tanh for each tanh

They take turns. A turn is one run, or as many runs as fill five milliseconds. A ratio is the median
over the rounds of the ratio within a round, because a slow phase of the machine slows all turns of
a round alike. Times are processor times (`time.process_time`) if that clock is fine enough, so
other programs do not count. The times of check's results are wall-clock times, because two
processes compute them, so there other programs count.

The time of ours above the floor has two parts. The difference between `least` and the floor is exp
and tanh, which every program that calls NumPy's must pay. The rest is elementwise products and
sums, and at small sizes about a microsecond of Python for each operation. The last table compares
the targets with the results; a target is missed where fewer than all of the results meet it.
"""
