"""Initial parameters: orthogonal recurrent weights, and an open forget gate.

    (1)  A = QR,  Q ← Q d(sign(diag R))       Q of a Gaussian A, uniform over the orthogonal group
    (2)  b_ih,f + b_hh,f = b                  the forget gate starts at f = σ(b); σ(1) = 0.731

torch.nn.LSTM adds two biases, so setting each of them to 1 gives f = σ(2) = 0.881. (2) sets the
sum: b in bias_ih, 0 in bias_hh.

Source: Saxe et al. 2014, Mezzadri 2007 for (1); Gers et al. 2000, Jozefowicz et al. 2015 for (2).
Page: docs/dynamics/dynamics.md
"""

import numpy as np

from .net import Net, Params


def orthogonal(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random orthogonal matrix [size, size], float64."""
    Q, R = np.linalg.qr(rng.standard_normal((size, size)))
    return Q * np.sign(np.diag(R))  # (1)


def orthogonal_recurrence(net: Net, params: Params, rng: np.random.Generator) -> Params:
    """The parameters of a net with every gate's block of every weight_hh orthogonal.

    They are drawn in float64 and converted to the dtype of the weights that they replace. Raises
    ValueError for a net with proj_size, whose blocks [H, P] are not square.
    """
    if net.proj_size:
        raise ValueError(
            f"Expected square recurrent weights, but proj_size={net.proj_size} makes them "
            f"[{net.hidden_size}, {net.proj_size}]; use proj_size=0."
        )
    return {
        name: np.concatenate([orthogonal(rng, net.hidden_size) for _ in net.cell.gates]).astype(
            value.dtype
        )
        if name.startswith("weight_hh")
        else value
        for name, value in params.items()
    }


def forget_bias(net: Net, params: Params, b: float) -> Params:
    """The parameters of an LSTM whose forget gates are σ(b) for x = 0 and h = 0.

    Raises ValueError for a net without forget gates or without biases.
    """
    if "f" not in net.cell.gates or not net.bias:
        raise ValueError(f"Expected an LSTM with bias=True, which has forget gates, but got {net}.")
    H, new = net.hidden_size, dict(params)
    first = net.cell.gates.index("f") * H
    for name, value in params.items():
        if name.startswith("bias_"):
            new[name] = value.copy()
            # Differs: the sources have one bias; here the sum of two is b, not each of them.
            new[name][first : first + H] = b if name.startswith("bias_ih") else 0  # (2)
    return new
