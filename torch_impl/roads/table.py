"""The table of roads: a row for each, in the order in which they are printed.

Page: docs/roads/roads.md
"""

from functools import partial

from ..execution.path import NATIVE
from . import (
    checkpointed,
    compiled,
    conditions,
    copies,
    directional,
    exported,
    inputs,
    jit,
    live,
    onnx,
    quantised,
    transforms,
    weights,
)
from .road import Road, nothing_excluded

_REVERSE = ("d_", "hv_")

_FRAME = (
    Road("deepcopy", copies.deep_copied, "`copy.deepcopy` after a call"),
    Road("saveload", copies.saved_and_loaded, "`torch.save` and `torch.load` of a whole module"),
    Road("statedict", copies.state_loaded, "`load_state_dict` into a module that was called"),
    Road("chunks", weights.in_chunks, "weights not in one chunk, with NaN between the elements"),
    Road("swapped", weights.swapped, "`functional_call` of a module whose own weights are NaN"),
    Road(
        "tied-directions",
        weights.tied_directions,
        "both directions have one set of parameters",
        conditions.both_directions,
        weights.tie_directions,
    ),
    Road(
        "parametrized",
        weights.parametrized,
        "every parameter is 2θ by `parametrize`",
        conditions.not_tied,
    ),
    Road(
        "weightnorm-old",
        weights.weight_normed,
        "`torch.nn.utils.weight_norm`",
        conditions.norms,
        constrain=weights.norm_weights,
        not_returned=("d_weight_hh_l0",),
    ),
    Road(
        "weightnorm-new",
        weights.weight_normed_by_parametrization,
        "`parametrizations.weight_norm`",
        conditions.norms,
        constrain=weights.norm_weights,
        not_returned=("d_weight_hh_l0",),
    ),
    Road(
        "dropout-changed", live.dropout_changed, "`dropout` set on a live module", conditions.layers
    ),
    Road(
        "threads-at-once",
        live.threads_at_once,
        "four threads call one module",
        conditions.no_dropout,
    ),
    Road(
        "packed-methods",
        live.methods_of_packed,
        "methods of PackedSequence before and after the net",
        conditions.packed_only,
    ),
    Road("in-place", live.changed_in_place, "a leaf changes between forward and backward pass"),
    Road("outputs-in-place", live.outputs_changed_in_place, "the outputs change in place"),
    Road(
        "expanded",
        inputs.expanded,
        "input and state of stride 0",
        conditions.rows,
        inputs.repeat_first_row,
    ),
    Road(
        "overlapping",
        inputs.overlapping,
        "input whose elements share memory",
        conditions.dense_batch,
        inputs.overlap,
    ),
    Road("no-rows", inputs.without_rows, "B = 0", conditions.no_masks, inputs.remove_rows),
    Road("checkpoint", checkpointed.checkpointed, "`checkpoint`, packed data too"),
    Road(
        "checkpoint-reentrant",
        checkpointed.checkpointed_reentrant,
        "`checkpoint(use_reentrant=True)`",
    ),
    Road("script", jit.scripted, "`torch.jit.script`"),
    Road(
        "script-frozen",
        jit.scripted_and_frozen,
        "`torch.jit.freeze` of a script",
        jit.without_dropout,
        not_returned=("d_weight", "d_bias"),
    ),
    Road("trace", jit.traced, "`torch.jit.trace`, called at other T and B", jit.not_traced),
    Road(
        "trace-frozen",
        jit.traced_and_frozen,
        "`torch.jit.freeze` of a trace",
        jit.neither,
        not_returned=("d_weight", "d_bias"),
    ),
    Road(
        "vmap-rows",
        transforms.rows_mapped,
        "`vmap` over the rows of a batch",
        transforms.dense_without_dropout,
    ),
    Road(
        "vmap-nets",
        transforms.nets_mapped,
        "`vmap` over nets of other weights",
        transforms.unpacked_without_dropout,
    ),
    Road(
        "jacfwd",
        transforms.jacobian_forward,
        "`jacfwd` of a loss",
        transforms.few_leaves,
        kernel=NATIVE,
    ),
    Road("jacrev", transforms.jacobian_reverse, "`jacrev` of all outputs", transforms.few_outputs),
    *[
        Road(
            name,
            prepare,
            what,
            reason,
            directional.with_direction,
            not_returned=lacks,
            kernel=kernel,
        )
        for name, prepare, what, reason, lacks, kernel in (
            (
                "forward-ad",
                directional.forward_mode,
                "`forward_ad`: tangents",
                nothing_excluded,
                _REVERSE,
                NATIVE,
            ),
            (
                "jvp",
                directional.jvp,
                "`torch.func.jvp`: tangents",
                transforms.unpacked_without_dropout,
                _REVERSE,
                NATIVE,
            ),
            (
                "double-vjp",
                directional.double_vjp,
                "tangents by two backward passes",
                nothing_excluded,
                _REVERSE,
                NATIVE,
            ),
            (
                "double-backward",
                directional.double_backward,
                "Hessian-vector products",
                nothing_excluded,
                ("t_",),
                NATIVE,
            ),
            (
                "double-backward-onednn",
                directional.double_backward,
                "the same through oneDNN",
                nothing_excluded,
                ("t_",),
                "MkldnnRnn",
            ),
            (
                "double-vjp-onednn",
                directional.double_vjp,
                "tangents through oneDNN",
                nothing_excluded,
                _REVERSE,
                "MkldnnRnn",
            ),
            (
                "forward-over-reverse",
                directional.forward_over_reverse,
                "`jvp` of `grad`",
                transforms.unpacked_without_dropout,
                ("t_",),
                NATIVE,
            ),
            (
                "reverse-over-forward",
                directional.reverse_over_forward,
                "`grad` of `jvp`",
                transforms.unpacked_without_dropout,
                ("t_", "d_"),
                NATIVE,
            ),
        )
    ],
)
_LOWERED = (
    *[
        Road(
            f"{backend.replace('_', '-')}{'-dynamic' * dynamic}",
            partial(compiled.compiled, backend=backend, dynamic=dynamic),
            f"`torch.compile(backend='{backend}', dynamic={dynamic})`",
            reason,
            every=every,
        )
        for backend, reason, of_one_size, of_any in (
            ("aot_eager", compiled.small, 5, 17),
            ("inductor", compiled.small_for_inductor, 13, 49),
        )
        for dynamic, every in ((False, of_one_size), (True, of_any))
    ],
    Road(
        "export",
        exported.exported,
        "`torch.export`, called at other B, of GRU and LSTM at other T",
        exported.not_exported,
        every=3,
    ),
    Road(
        "export-decomposed",
        exported.decomposed,
        "`run_decompositions`, called at another B",
        exported.not_exported,
        every=5,
    ),
    Road(
        "aotinductor",
        exported.packaged,
        "an AOTInductor package, called at another B",
        exported.not_packaged,
        not_returned=("d_",),
        every=33,
    ),
    Road(
        "float16-weights",
        quantised.half_weights,
        "`quantize_dynamic`, weights in float16",
        quantised.not_quantised,
        quantised.round_to_half,
        not_returned=("d_",),
        dtypes=("float32",),
    ),
    Road(
        "int8",
        quantised.int8_weights,
        "`quantize_dynamic`, weights and activations in 8 bits",
        quantised.not_one_step,
        quantised.round_to_steps,
        not_returned=("d_",),
        dtypes=("float32",),
    ),
    Road(
        "onnx-dynamo",
        onnx.by_dynamo,
        "`torch.onnx.export(dynamo=True)` in ONNX Runtime",
        onnx.not_by_dynamo,
        not_returned=("d_",),
        dtypes=("float32",),
        package="onnxruntime",
        every=5,
    ),
    Road(
        "onnx-legacy",
        onnx.by_tracing,
        "`torch.onnx.export(dynamo=False)` in ONNX Runtime",
        onnx.not_by_tracing,
        not_returned=("d_",),
        dtypes=("float32",),
        package="onnxruntime",
    ),
)
ROADS = {f"cpu-{road.name}": road for road in (*_FRAME, *_LOWERED)}
