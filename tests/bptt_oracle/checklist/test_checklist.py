"""The checklist: each check passes a correct model, and names the mistake of broken ones.

The models use only torch.nn and are written as a user would write them.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bptt_oracle import checklist
from support.calculus import rejects

V, B, T = 11, 4, 6
PAD = 0
LENGTHS = torch.tensor([2, 6, 1, 4])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def tokens(*shape):
    """Random tokens, none of them padding."""
    return torch.randint(1, V, shape)


class LM(nn.Module):
    """An ordinary language model."""

    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.emb = nn.Embedding(V, 5)
        self.rnn = kind(5, 7, **({"batch_first": True} | options))
        self.head = nn.Linear(7 * (1 + self.rnn.bidirectional), V)

    def forward(self, ids, state=None):
        h, state = self.rnn(self.emb(ids), state)
        return self.head(h), state


def holds(result, point):
    """Assert that the check passes, as a truth value and as text."""
    assert result and result.holds and result.point == point, result
    assert str(result).startswith(f"holds ({point})")


def fails(result, point, *evidence):
    """Assert that the check fails, and that its evidence contains these words."""
    assert not result and not result.holds and result.point == point
    assert str(result).startswith(f"FAILS ({point})")
    for words in evidence:
        assert words in result.evidence, result


# 1


@pytest.mark.claim("Q4", "B3")
def test_label_shift_distinguishes_one_from_zero_and_two():
    ids = tokens(B, 12)
    holds(checklist.label_shift(lambda i: (i[:, :-1], i[:, 1:]), ids), 1)
    fails(checklist.label_shift(lambda i: (i[:, :-1], i[:, :-1]), ids), 1, "t + 0", "copy")
    fails(checklist.label_shift(lambda i: (i[:, :-2], i[:, 2:]), ids), 1, "t + 2")
    fails(checklist.label_shift(lambda i: (i[:, 1:], i[:, :-1]), ids), 1, "t + -1")
    fails(checklist.label_shift(lambda i: (i, i[:, 1:]), ids), 1, "[4, 12]")
    fails(checklist.label_shift(lambda i: (i[:, :-1], i.flip(1)[:, 1:]), ids), 1, "not slices")


@pytest.mark.claim("Q4")
def test_label_shift_accepts_ignored_targets_and_rejects_repeating_ids():
    def padded(ids):
        return ids, torch.cat([ids[:, 1:], torch.full((len(ids), 1), -100)], dim=1)

    holds(checklist.label_shift(padded, tokens(B, 12)), 1)
    same = torch.ones(B, 8, dtype=torch.long)
    rejects(ValueError, "repeating", checklist.label_shift, lambda i: (i[:, :-1], i[:, 1:]), same)


def test_label_shift_reads_flattened_inputs_and_targets_row_by_row():
    ids = tokens(B, 12)
    flat = lambda i: (i[:, :-1].flatten(), i[:, 1:].flatten())  # noqa: E731
    holds(checklist.label_shift(flat, ids), 1)
    fails(checklist.label_shift(lambda i: (flat(i)[0], flat(i)[0]), ids), 1, "t + 0", "copy")
    stream = lambda i: (i.flatten()[:-1], i.flatten()[1:])  # noqa: E731
    rejects(ValueError, "rows of one length, got [47]", checklist.label_shift, stream, ids)
    by_step = lambda i: (i[:, :-1].T.flatten(), i[:, 1:].T.flatten())  # noqa: E731
    rejects(ValueError, "in the order of the ids", checklist.label_shift, by_step, ids)
    rejects(ValueError, "got [12]", checklist.label_shift, flat, ids[0])


# 2


@pytest.mark.claim("Q4")
def test_shapes_detects_wrong_shapes_and_mixed_rows():
    ids = tokens(T, T)  # square, so that swapped axes have the same shape
    holds(checklist.shapes(LM(), ids, ids, V), 2)
    fails(checklist.shapes(LM(batch_first=False), ids, ids, V), 2, "batch_first")
    fails(checklist.shapes(LM(), ids, ids[:, 1:], V), 2, "targets are [6, 5]")
    fails(checklist.shapes(LM(), ids, ids, V + 1), 2, "logits are [6, 6, 11]")
    rejects(ValueError, "two rows", checklist.shapes, LM(), ids[:1], ids[:1], V)


# 3


def losses():
    """Right and wrong averages of the cross entropy by name: functions of logits and targets."""

    def masked(logits, targets):
        mask = targets != PAD
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        return (losses.view_as(targets) * mask).sum() / mask.sum().clamp(min=1)

    def cross_entropy(logits, targets, **options):
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **options)

    def per_sequence(logits, targets):
        rows = [masked(o[None], y[None]) for o, y in zip(logits, targets, strict=True)]
        return torch.stack(rows).mean()

    return {
        "masked": masked,
        "ignore_index": lambda o, y: cross_entropy(o, y, ignore_index=PAD),
        "mean": cross_entropy,
        "sum": lambda o, y: cross_entropy(o, y, ignore_index=PAD, reduction="sum"),
        "all": lambda o, y: cross_entropy(o, y, ignore_index=PAD, reduction="sum") / y.numel(),
        "per_sequence": per_sequence,
    }


@pytest.mark.claim("Q4", "P8")
def test_padding_loss_accepts_the_right_denominator_and_names_the_wrong_ones():
    logits = torch.randn(B, T, V)
    targets = torch.where(torch.arange(T) < LENGTHS[:, None], tokens(B, T), PAD)
    check = {n: checklist.padding_loss(f, logits, targets, PAD) for n, f in losses().items()}
    holds(check["masked"], 3)
    holds(check["ignore_index"], 3)
    assert "padding only it is 0" in check["masked"].evidence
    assert "padding only it is nan" in check["ignore_index"].evidence
    fails(check["mean"], 3, "gradient", "over padding too")
    fails(check["all"], 3, "all positions")
    rejects(
        ValueError,
        "some targets",
        checklist.padding_loss,
        losses()["mean"],
        logits,
        targets * 0,
        PAD,
    )


def test_padding_loss_leaves_the_choice_of_the_denominator_and_names_it():
    logits = torch.randn(B, T, V)
    targets = torch.where(torch.arange(T) < LENGTHS[:, None], tokens(B, T), PAD)
    named = {
        "sum": "divided by no number of tokens",
        "per_sequence": "a mean of means over sequences",
        "masked": "Σ mℓ / 13",
    }
    for name, denominator in named.items():
        result = checklist.padding_loss(losses()[name], logits, targets, PAD)
        holds(result, 3)
        assert denominator in result.evidence
    smoothed = {"ignore_index": PAD, "reduction": "sum", "label_smoothing": 0.1}

    def by_positions(o, y):
        return F.cross_entropy(o.flatten(0, 1), y.flatten(), **smoothed) / y.numel()

    fails(checklist.padding_loss(by_positions, logits, targets, PAD), 3, "Σ mℓ / Σ m is")


# 3, 4, 14: padding


class Reader(nn.Module):
    """An embedding and a net, and right and wrong results computed with them."""

    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.emb, self.rnn = nn.Embedding(V, 5), kind(5, 7, batch_first=True, **options)

    def packed(self, ids, lengths):
        pack = pack_padded_sequence(self.emb(ids), lengths, True, enforce_sorted=False)
        return self.rnn(pack)

    def sorted_by_hand(self, ids, lengths):
        """Sort the rows for packing without enforce_sorted=False, and never unsort them."""
        order = lengths.argsort(descending=True)
        output, state = self.rnn(pack_padded_sequence(self.emb(ids)[order], lengths[order], True))
        return pad_packed_sequence(output, batch_first=True)[0], state


@pytest.mark.claim("Q4", "P1")
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_padding_state_detects_padding_that_was_read(kind):
    reader, ids = Reader(kind), tokens(B, T)
    holds(checklist.padding_state(lambda x, n: reader.packed(x, n)[1], ids, LENGTHS), 3)
    result = checklist.padding_state(lambda x, n: reader.rnn(reader.emb(x))[1], ids, LENGTHS)
    fails(result, 3, "row 0, of length 2", "row 2", "row 3")
    assert "row 1" not in result.evidence  # it has no padding


@pytest.mark.claim("Q4", "P7")
def test_last_valid_step_detects_the_last_column():
    reader, ids = Reader(), tokens(B, T)

    def output_at(step):
        def run(x, lengths):
            output, _ = reader.rnn(reader.emb(x))
            return output[torch.arange(len(x)), step(lengths, x.shape[1])]

        return run

    holds(checklist.last_valid_step(output_at(lambda n, T: n - 1), ids, LENGTHS), 4)
    holds(checklist.last_valid_step(lambda x, n: reader.packed(x, n)[1][-1], ids, LENGTHS), 4)
    fails(
        checklist.last_valid_step(output_at(lambda n, T: n * 0 + T - 1), ids, LENGTHS), 4, "row 0"
    )
    equal = LENGTHS * 0 + T
    holds(checklist.last_valid_step(output_at(lambda n, T: n - 1), ids, equal), 4)
    last_column = output_at(lambda n, T: n * 0 + T - 1)
    rejects(ValueError, "ignores them", checklist.last_valid_step, last_column, ids, equal)


@pytest.mark.claim("Q4", "P3")
def test_packed_order_detects_rows_left_in_sorted_order():
    reader, ids = Reader(), tokens(B, T)
    both = Reader(bidirectional=True)
    for r in (reader, both):
        unpacked = lambda x, n, r=r: pad_packed_sequence(r.packed(x, n)[0], True)[0]  # noqa: E731
        holds(checklist.packed_order(unpacked, ids, LENGTHS), 14)
        result = checklist.packed_order(lambda x, n, r=r: r.sorted_by_hand(x, n)[0], ids, LENGTHS)
        fails(result, 14, "its result is in row")
    last = lambda x, n: reader.sorted_by_hand(x, n)[1][-1]  # noqa: E731
    fails(checklist.packed_order(last, ids, LENGTHS), 14, "its result is in row 0")
    for lengths in (torch.tensor([6, 4, 2, 1]), LENGTHS * 0 + T):
        fails(checklist.packed_order(last, ids, lengths), 14, "its result is in row")


# 5, 6, 7


def training_loop(model, after, chunks=3):
    """A training loop over a stream; `after` changes the state between chunks."""

    def loop():
        state = None
        for _ in range(chunks):
            logits, state = model(tokens(B, T), state)
            logits.square().mean().backward()
            model.zero_grad()
            state = after(state)

    return loop


@pytest.mark.claim("Q4", "S1", "S3")
def test_carry_and_detach_detects_a_state_that_is_reset_or_attached():
    gru, lstm = LM(), LM(nn.LSTM)
    holds(checklist.carry_and_detach(gru, training_loop(gru, lambda h: h.detach())), 5)
    both = lambda s: tuple(p.detach() for p in s)  # noqa: E731
    holds(checklist.carry_and_detach(lstm, training_loop(lstm, both)), 5)
    fails(checklist.carry_and_detach(gru, training_loop(gru, lambda h: None)), 5, "forgotten")
    fails(
        checklist.carry_and_detach(gru, training_loop(gru, lambda h: h)),
        5,
        "attached",
        "second time",
    )
    zeros = lambda h: torch.zeros_like(h)  # noqa: E731
    fails(checklist.carry_and_detach(gru, training_loop(gru, zeros)), 5, "differs")

    def packed_loop():
        h = None
        for _ in range(2):
            rows = pack_padded_sequence(torch.randn(B, T, 5), torch.full((B,), T), True)
            output, h = bare(rows, h)
            output.data.sum().backward()
            h = h.detach()

    bare = nn.GRU(5, 7)
    holds(checklist.carry_and_detach(bare, packed_loop), 5)
    one = training_loop(gru, lambda h: h.detach(), chunks=1)
    rejects(ValueError, "got 1 calls", checklist.carry_and_detach, gru, one)


@pytest.mark.claim("Q4", "S3")
def test_both_detached_names_h_or_c():
    lstm = LM(nn.LSTM)

    def check(after):
        return checklist.both_detached(lstm, training_loop(lstm, after))

    holds(check(lambda s: (s[0].detach(), s[1].detach())), 6)
    fails(check(lambda s: (s[0].detach(), s[1])), 6, "c enters chunk 1 attached")
    fails(check(lambda s: (s[0], s[1].detach())), 6, "h enters chunk 1 attached")
    fails(check(lambda s: (s[0].detach(), s[0].detach())), 6, "c enters chunk 1 with other values")
    fails(check(lambda s: None), 6, "0 tensors")
    gru = LM()
    loop = training_loop(gru, lambda h: h.detach())
    rejects(ValueError, "got 1", checklist.both_detached, gru, loop)


@pytest.mark.claim("Q4")
def test_fresh_start_detects_a_state_kept_in_the_model():
    class Stateful(LM):
        state = None

        def forward(self, ids, state=None):
            logits, self.state = super().forward(ids, self.state)
            return logits, self.state

    one, other = tokens(B, T), tokens(B, T)
    model, stateful = LM(), Stateful()
    holds(checklist.fresh_start(lambda x: model(x)[0], one, other), 7)
    fails(checklist.fresh_start(lambda x: stateful(x)[0], one, other), 7, "another sample")


# 8, 9


def select(state, reset):
    """A reset by selection: nothing of the old state remains."""
    return torch.where(reset[:, None], 0, state)


@pytest.mark.claim("Q4", "S5", "S5′")
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_reset_leak_detects_a_missing_a_total_and_a_multiplied_reset(kind):
    model, ids = LM(kind), tokens(B, T)
    reset = torch.tensor([True, False, True, False])
    h = torch.randn(1, B, 7)
    state = (h, torch.randn(1, B, 7)) if kind is nn.LSTM else h

    def check(reset_state):
        def step(x, state, reset):
            if isinstance(state, tuple):
                return model(x, tuple(reset_state(s, reset) for s in state))
            return model(x, reset_state(state, reset))

        return checklist.reset_leak(step, ids, state, reset)

    holds(check(select), 8)
    holds(check(lambda s, r: torch.where(r[:, None], 0.3, s)), 8)
    fails(check(lambda s, r: s), 8, "changes the output of the new one")
    multiplied = check(lambda s, r: s * ~r[:, None])
    holds(multiplied, 8)
    assert "NaN in the old state survives" in multiplied.evidence
    assert "NaN" not in check(select).evidence
    fails(check(lambda s, r: torch.zeros_like(s)), 8, "reset too")
    fails(check(lambda s, r: select(s, ~r)), 8, "changes the output of the new one", "reset too")
    step = lambda x, s, r: model(x, s)  # noqa: E731
    rejects(ValueError, "continue", checklist.reset_leak, step, ids, state, torch.ones(B) > 0)


@pytest.mark.claim("Q4", "S6")
def test_routing_detects_states_that_follow_rows():
    model = LM()

    def by_id():
        bank = {}

        def step(ids, x):
            start = torch.zeros(1, 1, 7)
            output, h = model(x, torch.cat([bank.get(i, start) for i in ids], dim=1))
            bank.update(zip(ids, h.split(1, dim=1), strict=True))
            return output

        return step

    def by_row():
        carried = [None]

        def step(ids, x):
            output, carried[0] = model(x, carried[0])
            return output

        return step

    one, two = tokens(B, T), tokens(B, T)
    holds(checklist.routing(by_id, one, two), 9)
    fails(checklist.routing(by_row, one, two), 9, "change rows", "inherits")
    fails(checklist.routing(lambda: lambda ids, x: model(x)[0], one, two), 9, "no state is kept")
    rejects(ValueError, "got 1", checklist.routing, by_id, one[:1], two[:1])


# 10, 12


@pytest.mark.claim("Q4", "B9")
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_clipping_detects_none_and_one_too_late_or_too_early(kind):
    model = LM()
    optimizer = kind(model.parameters(), lr=0.1)

    def check(*order):
        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(tokens(B, T))[0].flatten(0, 1), tokens(B, T).flatten())
            actions = {
                "backward": loss.backward,
                "clip": lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.5),
                "head": lambda: nn.utils.clip_grad_norm_(model.head.parameters(), 0.5),
                "step": optimizer.step,
            }
            for name in order:
                actions[name]()

        return checklist.clipping(optimizer, step, max_norm=0.5)

    before = {n: p.detach().clone() for n, p in model.state_dict().items()}
    settings = str(optimizer.state_dict())
    holds(check("backward", "clip", "step"), 10)
    fails(check("backward", "step"), 10, "at the step")
    fails(check("backward", "step", "clip"), 10)
    fails(check("clip", "backward", "step"), 10)
    fails(check("backward", "head", "step"), 10)
    rejects(ValueError, "got 0 steps", check, "backward", "clip")
    rejects(ValueError, "got 1 steps", check, "step")
    assert str(optimizer.state_dict()) == settings
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def clip_by_hand(factor):
    """A check of a step that multiplies the gradients by a factor of their norm."""
    model, optimizer = (lm := LM()), torch.optim.SGD(lm.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        model(tokens(B, T))[0].square().mean().backward()
        grads = [p.grad for p in model.parameters()]
        norm = torch.stack([g.norm() for g in grads]).norm()
        for g in grads:
            g.mul_(factor(norm))
        optimizer.step()

    return checklist.clipping(optimizer, step, max_norm=1.0)


def test_clipping_leaves_small_gradients_alone_and_names_a_scaler_only_where_there_is_one():
    holds(clip_by_hand(lambda norm: (1 / norm).clamp(max=1)), 10)
    fails(clip_by_hand(lambda norm: 1 / (norm + 1e-6)), 10, "are enlarged to", "min(1, max_norm")
    squared = clip_by_hand(lambda norm: 1 / norm**2)
    fails(squared, 10, "only")
    assert "GradScaler" not in squared.evidence


def test_clipping_inside_the_optimizers_step_does_not_fail():
    class ClipsInside(torch.optim.SGD):
        def step(self, closure=None):
            nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0)
            super().step(closure)

    class ClipsNothing(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)

    def check(kind):
        model = LM()
        optimizer = kind(model.parameters(), lr=0.1)

        def step():
            optimizer.zero_grad()
            model(tokens(B, T))[0].square().mean().backward()
            optimizer.step()

        return checklist.clipping(optimizer, step, 1.0)

    rejects(ValueError, "ClipsInside", check, ClipsInside)
    fails(check(ClipsNothing), 10, "at the step")


def test_clipping_needs_more_than_one_batch():
    model, batches = LM(), iter([tokens(B, T)])
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def step():
        optimizer.zero_grad()
        model(next(batches))[0].square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    rejects(ValueError, "called several times", checklist.clipping, optimizer, step, 1.0)


@pytest.mark.parametrize(
    ("got", "change"),
    [
        ("got NoneType", {"optimizer": None}),
        ("step as a function, got NoneType", {"step": None}),
        ("got '1'", {"max_norm": "1"}),
        ("got -1", {"max_norm": -1}),
        ("got nan", {"max_norm": float("nan")}),
    ],
)
def test_clipping_takes_an_optimizer_a_function_and_a_positive_number(got, change):
    optimizer = torch.optim.SGD(LM().parameters(), 0.1)
    arguments = {"optimizer": optimizer, "step": optimizer.step, "max_norm": 1.0} | change
    rejects(ValueError, got, checklist.clipping, *arguments.values())


@pytest.mark.claim("Q4", "B7")
def test_teacher_forcing_detects_the_target_fed_in_evaluation():
    class Decoder(LM):
        def __init__(self, forced):
            super().__init__()
            self.forced = forced

        def decode(self, target):
            y, state, logits = target[:, :1] * 0, None, []
            for t in range(target.shape[1]):
                o, state = self(y, state)
                logits.append(o)
                feed_target = torch.rand(()) < self.forced(self.training)
                y = target[:, t : t + 1] if feed_target else o.argmax(dim=-1)
            return torch.cat(logits, dim=1)

    def check(forced):
        model = Decoder(forced)
        model.rnn.eval()  # a submodule that the user froze stays frozen
        result = checklist.teacher_forcing(model, model.decode, tokens(B, T), tokens(B, T))
        assert model.training and not model.rnn.training
        return result

    holds(check(lambda training: float(training)), 12)
    holds(check(lambda training: 0.7 * training), 12)
    fails(check(lambda training: 1.0), 12, "evaluation")
    fails(check(lambda training: 0.7), 12, "evaluation")
    rejects(ValueError, "not fed either", check, lambda training: 0.0)
    same, model = tokens(B, T), Decoder(float)
    rejects(ValueError, "same twice", checklist.teacher_forcing, model, model.decode, same, same)
    shapes = "one shape, got [4, 6] and [4, 7]"
    other = tokens(B, T + 1)
    rejects(ValueError, shapes, checklist.teacher_forcing, model, model.decode, same, other)
    one, two = same[0], 1 + same[0]
    rejects(ValueError, "[6]", checklist.teacher_forcing, model, model.decode, one, two)


# 11


def generator(model, feed, keep=True, prefix=False, sample=False, whole=False, feed_last=False):
    """A token generator.

    feed(y, prompt) chooses the next input; keep: pass the state on; prefix: feed the whole prefix;
    sample: draw instead of argmax; whole: return the prompt too; feed_last: feed the last token.
    """

    def generate(prompt, steps):
        fed, state, out = prompt, None, []
        for _ in range(steps):
            logits, new_state = model(fed, state)
            state = new_state if keep else None
            p = logits[:, -1].softmax(dim=-1)
            y = torch.multinomial(p, 1) if sample else p.argmax(dim=-1, keepdim=True)
            out.append(y)
            fed = torch.cat([fed, y], dim=1) if prefix else feed(y, prompt)
        if feed_last:
            model(fed, state)
        return torch.cat([prompt, *out] if whole else out, dim=1)

    return generate


@pytest.mark.claim("Q4", "B7")
def test_generation_detects_what_is_fed_back():
    model, prompt = LM(), tokens(B, 3)
    own, stale = (lambda y, prompt: y), (lambda y, prompt: prompt[:, -1:])
    holds(checklist.generation(model, generator(model, own), prompt), 11)
    holds(checklist.generation(model, generator(model, own, sample=True), prompt), 11)
    holds(
        checklist.generation(model, generator(model, own, whole=True, feed_last=True), prompt), 11
    )
    holds(checklist.generation(model, generator(model, None, keep=False, prefix=True), prompt), 11)
    fails(checklist.generation(model, generator(model, stale), prompt), 11, "was written")
    fails(checklist.generation(model, generator(model, own, keep=False), prompt), 11, "forgotten")
    truth = iter(range(1, 9))
    forced = lambda y, prompt: torch.full_like(y, next(truth))  # noqa: E731
    fails(checklist.generation(model, generator(model, forced), prompt), 11, "was written")
    rejects(ValueError, "0 calls", checklist.generation, model, lambda p, n: tokens(B, n), prompt)
    short = lambda p, n: generator(model, own)(p, n - 2)  # noqa: E731
    rejects(ValueError, "got 6", checklist.generation, model, short, prompt)
    rejects(ValueError, "three", checklist.generation, model, generator(model, own), prompt, 1)
    assert model.training and not model._forward_hooks


# 13


@pytest.mark.claim("Q4", "A5")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_causality_detects_a_bidirectional_layer(kind):
    ids = tokens(B, T)
    holds(checklist.causality(LM(kind), ids), 13)
    holds(checklist.causality(LM(kind, num_layers=2, dropout=0.5), ids), 13)
    fails(checklist.causality(LM(kind, bidirectional=True), ids), 13, "rnn is bidirectional")
    holds(checklist.causality(kind(5, 7, batch_first=True), torch.randn(B, T, 5)), 13)
    bare = kind(5, 7, batch_first=True, bidirectional=True)
    fails(checklist.causality(bare, torch.randn(B, T, 5)), 13, "the model is bidirectional")


@pytest.mark.claim("Q4")
def test_causality_detects_other_leaks_of_later_inputs():
    class LookAhead(LM):
        def forward(self, ids, state=None):
            x = self.emb(ids)
            h, state = self.rnn(x + 1e-6 * self.look(x), state)
            return self.head(h), state

    ahead, mean, blind = LookAhead(), LookAhead(), LookAhead()
    ahead.look = lambda x: x.roll(-1, dims=1)
    mean.look = lambda x: x.mean(dim=1, keepdim=True)
    blind.look = lambda x: -1e6 * x
    ids = tokens(B, T)
    fails(checklist.causality(ahead, ids), 13, "output 0 has a gradient", "to input 1")
    fails(checklist.causality(mean, ids), 13, "output 0 has a gradient")
    rejects(ValueError, "zeros prove nothing", checklist.causality, blind, ids)
    rejects(ValueError, "T ≥ 2", checklist.causality, LM(), ids[:, :1])
    assert LM().training


def test_a_result_is_true_only_if_the_point_holds():
    """A tuple is true if it is not empty. A CheckResult must not be."""
    passed = checklist.CheckResult(1, "claim", True, "seen")
    assert passed
    assert not passed._replace(holds=False)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_difference_ignores_rounding_and_compares_nan(shape):
    from bptt_oracle.checklist.comparison import difference

    a = torch.full(shape, 2.0)
    assert difference(a, a) == 0 == difference(a + 1e-5 * np.pi / 10, a)
    assert difference(a + 0.5, a) == 0.5
    assert difference(a * torch.nan, a * torch.nan) == 0
    assert (
        difference(a * torch.nan, a)
        == difference(a, a * torch.nan)
        == difference(a[None], a)
        == np.inf
    )
