"""Mistakes of dropout, planted in the text of `textbook_net` and in torch's nets."""

import torch

from bptt_oracle.cases.case import CELLS
from bptt_oracle.cases.masks import draw_masks
from bptt_oracle.faults import FAULTS
from bptt_oracle.faults.fault import run_with_fault
from bptt_oracle.faults.inject import (
    change_gradient,
    in_output_layout,
    layer_of,
    run_layers,
    run_steps_made_by,
)
from support.plant import Plant, torch_plant
from support.planted_in_text import SOURCE, textbook
from torch_impl.nets.modules import manual_step

FORWARD = "y = out * masks[layer] * scale"
BACKWARD = "d_y = d_y * masks[layer] * scale"
SCALE = "scale = np.asarray(options.dropout_scale, dtype)"
MASKS = "masks = [time_first(mask) for mask in draw_masks(problem, dtype)]"
ALL_LAYERS = MASKS + "; masks += masks[-1:]"
BY_P = "scale = np.asarray(1 / (options.dropout or 1), dtype)"
IN_TEXT = {  # what stands in place of "masks[layer] * scale", or other replacements
    "dropout not scaled by 1 / (1 − p)": "masks[layer]",
    "dropout scaled by 1 / (1 − p) twice": "masks[layer] * scale * scale",
    "dropout scaled by 1 / p in place of 1 / (1 − p)": ((SCALE, BY_P),),
    "dropout of the units that it should keep": "(1 - masks[layer]) * scale",
    "dropout left out": "1",
    "the factor 1 − p in place of dropout": "(1 - options.dropout)",
    "dropout after the last layer too": ((MASKS, ALL_LAYERS),),
    "the dropout mask of the first step in every step": "masks[layer][:1] * scale",
    "the dropout mask of the first row in every row": "masks[layer][:, :1] * scale",
    "the dropout mask of the first layer in every layer": "masks[0] * scale",
    "the dropout masks of the layers in reverse order": "masks[-1 - layer] * scale",
    "the forward direction's dropout mask in both directions": (
        "np.tile(masks[layer][..., :F], D) * scale"
    ),
    "the dropout mask ignored in the gradient": ((BACKWARD, "pass"),),
    "the gradient of dropout not scaled by 1 / (1 − p)": (
        (BACKWARD, BACKWARD[: -len(" * scale")]),
    ),
    "the gradient of dropout scaled by 1 / (1 − p) twice": ((BACKWARD, f"{BACKWARD} * scale"),),
}


def _in_text():
    for name, change in IN_TEXT.items():
        if isinstance(change, str):
            right = "masks[layer] * scale"
            change = tuple((line, line.replace(right, change)) for line in (FORWARD, BACKWARD))
        net = textbook(change)
        yield Plant(name, "numpy", CELLS, lambda c, p, d, net=net: net(p, d), dropout=True)
    net = textbook(tuple(_dropped_states()))
    name = "dropout of the state carried in time too"
    yield Plant(name, "numpy", CELLS, lambda c, p, d: net(p, d), dropout=True)


DROPPED = {  # in the text of a cell
    "        h = new\n": '        h = new * p["drop"][len(steps) - 1]\n',
    "h, c = new, c_new": 'h, c = new * p["drop"][len(steps) - 1], c_new',
    "d_h = d_h + d_ys[t]": 'd_h = d_h * p["drop"][t] + d_ys[t]',
}


def _dropped_states():
    """h is dropped when a step has computed it: in the next step, in the output, and in h_n."""
    call = "ys, end, steps = forward(p, xs, start)"
    drop = "masks[layer][:length, b, k * F : (k + 1) * F] * scale"
    yield (
        call,
        f"drop = {drop} if layer < len(masks) else np.ones((length, F), dtype)\n"
        f'                p = p | {{"drop": drop[::-1] if k else drop}}\n                {call}',
    )
    for cell in ("rnn", "gru", "lstm"):
        for start in (f"def {cell}(", f"def {cell}_back("):
            begin = SOURCE.index(start)
            function = dropped = SOURCE[begin : SOURCE.index("\ndef ", begin)]
            for old, new in DROPPED.items():
                dropped = dropped.replace(old, new)
            assert dropped != function
            yield function, dropped


def _between(rule):
    """A change of what enters a layer: rule(y, its scaled mask, p)."""

    def change(call, forward):
        return run_layers(call, lambda y, mask: rule(y, mask, call.net.dropout))

    return change


def _with_masks(change):
    """The call with other masks [T, B, D·F]: change(masks, directions)."""

    def changed(call, forward):
        masks = call.masks and change(call.masks, 1 + call.net.bidirectional)
        return run_layers(call._replace(masks=list(masks)))

    return changed


def _forward_mask(masks, D):
    return [torch.cat([mask.chunk(D, -1)[0]] * D, -1) for mask in masks]


def _dropped_in_steps(call, forward):
    def make_step(suffix):
        times, layer = iter(range(len(call.x) + call.x.shape[1])), layer_of(f"weight_ih{suffix}")

        def step(net, params, suffix, x, state):
            h, *rest = manual_step(net, params, suffix, x, state)
            k = next(times)
            if layer >= len(call.masks):
                return [h, *rest]
            mask, reverse = call.masks[layer], suffix.endswith("_reverse")
            half = mask.chunk(1 + net.bidirectional, -1)[int(reverse)]
            return [h * half[len(mask) - 1 - k if reverse else k], *rest]

        return step

    return run_steps_made_by(call._replace(masks=[]), make_step)


def _last_layer_too(call, forward):
    output, final = forward(call)
    return (output * in_output_layout(call, call.masks[-1]) if call.masks else output), final


IN_TORCH = {
    "dropout not scaled by 1 / (1 − p)": _between(lambda y, mask, p: y * mask * (1 - p)),
    "dropout scaled by 1 / (1 − p) twice": _between(lambda y, mask, p: y * mask / (1 - p)),
    "dropout scaled by 1 / p in place of 1 / (1 − p)": _between(
        lambda y, mask, p: y * mask * ((1 - p) / p if p else 1)
    ),
    "dropout of the units that it should keep": _between(
        lambda y, mask, p: y * (mask == 0) / (1 - p) if p else y
    ),
    "dropout left out": _between(lambda y, mask, p: y),
    "the factor 1 − p in place of dropout": _between(lambda y, mask, p: y * (1 - p)),
    "dropout after the last layer too": _last_layer_too,
    "the dropout mask of the first step in every step": _with_masks(
        lambda masks, D: [mask[:1].expand_as(mask) for mask in masks]
    ),
    "the dropout mask of the first row in every row": _with_masks(
        lambda masks, D: [mask[:, :1].expand_as(mask) for mask in masks]
    ),
    "the dropout mask of the first layer in every layer": _with_masks(
        lambda masks, D: masks[:1] * len(masks)
    ),
    "the dropout masks of the layers in reverse order": _with_masks(lambda masks, D: masks[::-1]),
    "the forward direction's dropout mask in both directions": _with_masks(_forward_mask),
    "dropout of the state carried in time too": _dropped_in_steps,
    "the dropout mask ignored in the gradient": _between(
        lambda y, mask, p: change_gradient(y, lambda g: g) + (y * mask - y).detach()
    ),
    "the gradient of dropout not scaled by 1 / (1 − p)": _between(
        lambda y, mask, p: change_gradient(y, lambda g: g * (1 - p)) * mask
    ),
    "the gradient of dropout scaled by 1 / (1 − p) twice": _between(
        lambda y, mask, p: change_gradient(y, lambda g: g / (1 - p)) * mask
    ),
}
OF_FAULTS = {
    "dropout_not_scaled": "dropout not scaled by 1 / (1 − p)",
    "dropout_inverted": "dropout of the units that it should keep",
    "dropout_missing": "dropout left out",
    "dropout_mask_of_the_first_step": "the dropout mask of the first step in every step",
    "dropout_mask_of_the_first_layer": "the dropout mask of the first layer in every layer",
    "dropout_after_the_last_layer": "dropout after the last layer too",
    "dropout_mask_ignored_backward": "the dropout mask ignored in the gradient",
}


def _of_fault(fault_id, name):
    planted = FAULTS[fault_id]

    def run(case, problem, dtype):
        return run_with_fault(planted, case, problem, dtype, draw_masks(problem, dtype))

    return Plant(name, "torch", planted.cells, run, planted.dtypes, dropout=True)


def in_dropout():
    """All of them."""
    yield from _in_text()
    for name, change in IN_TORCH.items():
        yield torch_plant(name, CELLS, change)._replace(dropout=True)
    for fault_id, name in OF_FAULTS.items():
        yield _of_fault(fault_id, name)
