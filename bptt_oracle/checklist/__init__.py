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
    15  row_alone           a row in the batch gives what it gives alone
    16  in_chunks           a sequence in chunks gives what it gives in one piece

`check_all(model, x, …)` runs those whose arguments it gets, and prints one table.

Each check returns a CheckResult: true or false, with the evidence in words. A case that cannot show
the mistake (for example NaN, or results that do not depend on the input) raises ValueError and
never passes.
"""

from .batching import row_alone
from .carrying import both_detached, carry_and_detach, fresh_start
from .causality import causality
from .check_all import CheckTable, check_all
from .check_result import CheckResult
from .chunking import in_chunks
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
    "CheckTable",
    "both_detached",
    "carry_and_detach",
    "causality",
    "check_all",
    "clipping",
    "fresh_start",
    "generation",
    "in_chunks",
    "label_shift",
    "last_valid_step",
    "packed_order",
    "padding_loss",
    "padding_state",
    "reset_leak",
    "routing",
    "row_alone",
    "shapes",
    "teacher_forcing",
]
