"""How fast the reference is: `python -m benchmarks`, against torch and against bare products.

Four contestants do the same work on one thread, over the same arrays:

    ours     reference.RNN, GRU, LSTM: forward, then backward for a random d_output
    torch    torch.nn.RNN, GRU, LSTM: forward, then autograd's gradients of x and every parameter
    floor    nothing but the matrix products that both need, through NumPy's BLAS:
             x W_ihᵀ once, h W_hhᵀ and δ W_hh at each step, δᵀx, δᵀh, δ W_ih once
    least    the floor, and NumPy's exp for each σ, NumPy's tanh for each tanh, and nothing else

They take turns, each of five milliseconds or one run, round after round, and a ratio is the median
of the rounds' ratios: what slows a machine for a while slows neighbours alike. Time is the
processor's (`time.process_time`) where that clock is fine enough, so other programs do not count;
of check's results, which two processes make, it is the wall's, and other programs count.

Of what ours takes above the floor, exp and tanh are as much as `least` is above it: no program that
calls NumPy's comes below. The rest is elementwise products and sums, and at small sizes a
microsecond or so of Python for each operation. The last table holds what was aimed at beside what
was reached; where it says less than all, the aim was missed.
"""
