"""The checklist for training recurrent nets, as functions to call on your own PyTorch model.

    from bptt_oracle.checklist import causality
    print(causality(model, ids))          holds (13) no output knows the future: 28 gradients …
    assert causality(model, ids)          the same as a test

     1  label_shift         the target is the next token
     2  shapes              logits [B, T, V], targets [B, T], rows not mixed
     3  padding_loss        PAD costs nothing, and does not count in the denominator
        padding_state       PAD leaves no trace in the state
     4  last_valid_step     a classifier reads each row's own last step
     5  carry_and_detach    between chunks the state goes on, its graph is cut
     6  both_detached       of an LSTM both h and c
     7  fresh_start         no state is reused between samples
     8  reset_leak          a new stream in a row begins anew, NaN or not
     9  routing             states follow stream ids, not rows
    10  clipping            gradients are clipped before the optimiser's step
    11  generation          the model's own output is fed back
    12  teacher_forcing     the truth is fed in training alone
    13  causality           no output knows the future; no bidirectional layer
    14  packed_order        after packing, rows are in the batch's order

Each gives a Verdict: true or false, with the evidence in words. A case that cannot show anything
(equal lengths, say, for a check of padding) is refused with ValueError, never passed.
"""

from .carrying import both_detached, carry_and_detach, fresh_start
from .causality import causality
from .generating import generation
from .labels import label_shift, shapes
from .padding import last_valid_step, packed_order, padding_loss, padding_state
from .routing import reset_leak, routing
from .training import clipping, teacher_forcing
from .verdict import Verdict

__all__ = [
    "Verdict",
    "both_detached",
    "carry_and_detach",
    "causality",
    "clipping",
    "fresh_start",
    "generation",
    "label_shift",
    "last_valid_step",
    "packed_order",
    "padding_loss",
    "padding_state",
    "reset_leak",
    "routing",
    "shapes",
    "teacher_forcing",
]
