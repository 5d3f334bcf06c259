"""The checklist for training recurrent nets, as functions to call on your own PyTorch model.

    from bptt_oracle.checklist import causality
    print(causality(model, ids))          holds (13) no output depends on later inputs: 15 …
    assert causality(model, ids)          the same as a test

     1  label_shift         the target is the next token
     2  shapes              logits [B, T, V], targets [B, T], rows not mixed
     3  padding_loss        padding adds nothing to the loss or to its denominator
        padding_state       padding does not change the final state
     4  last_valid_step     a classifier reads the last valid step of each row
     5  carry_and_detach    the state is carried from chunk to chunk, its graph is not
     6  both_detached       both h and c of an LSTM are detached
     7  fresh_start         no state is reused between samples
     8  reset_leak          a new stream in a row starts from a fresh state, even after NaN
     9  routing             states follow stream ids, not rows
    10  clipping            gradients are clipped before the optimizer's step
    11  generation          the model's own output is fed back
    12  teacher_forcing     the target is fed to the model only in training
    13  causality           no output depends on later inputs; no bidirectional layer
    14  packed_order        after packing, results are in the order of the batch

Each returns a CheckResult: true or false, with the evidence in words. A case that cannot show the
mistake (for example equal lengths in a check of padding) raises ValueError and never passes.
"""

from .carrying import both_detached, carry_and_detach, fresh_start
from .causality import causality
from .check_result import CheckResult
from .clipping import clipping
from .generating import generation
from .labels import label_shift, shapes
from .padding import last_valid_step, packed_order, padding_state
from .padding_loss import padding_loss
from .resetting import reset_leak
from .routing import routing
from .teaching import teacher_forcing

__all__ = [
    "CheckResult",
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
