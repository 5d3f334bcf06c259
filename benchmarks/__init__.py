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
other programs do not count. The columns "wall" are the same runs on the wall clock, where other
programs count. The times of check's results are wall-clock times, because two processes compute
them.

The time of ours above the floor has two parts. The difference between `least` and the floor is exp
and tanh, which every program that calls NumPy's must pay. The rest is elementwise products and
sums, and at small sizes about a microsecond of Python for each operation.

JAX (`jit` of `lax.scan`, compiled beforehand) and HIPS autograd join a table of their own if they
are installed: `pip install jax autograd`. They differentiate the same equations, written for them
in `benchmarks/peers.py`. JAX is set to multiply on one thread; threads that it starts all the same
count in processor time, not in wall time. numpy-ml 0.1.2, the last release, takes no part: it
cannot be imported by Python 3.10 or later.

Memory is kept: glibc does not return freed memory to the system, so that a run does not pay for
fresh pages, whose price varies. A program under the default settings pays it at large sizes, as the
table "Fresh memory" shows. There an array of more than 32 MB consists of fresh pages in every run,
which the kernel sets to zero. NumPy asks for huge pages for such arrays and torch does not. Where
memory is fragmented, the kernel must first make room for a huge page. The two clocks agree about
this cost, because it is processor time of the kernel.

The last table compares the targets with the results; a target is missed where fewer than all of the
results meet it. Where a quantity has two targets, the second is that of the second edition.
"""
