"""The whole step against the method written again here without any of its shortcuts, and its switches."""

import copy
import math

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ortholib.dino.head import Head
from ortholib.dino.step import DINO, optimizer_of, parameter_groups, step
from ortholib.errors import UsageError

BATCH, LOCALS, PROTOTYPES = 4, 3, 32
PLAN = {
    "learning_rate": [0.05, 0.1, 0.07],
    "weight_decay": [0.01, 0.02, 0.05],
    "momentum": [0.9, 0.95, 0.99],
    "teacher_temperature": [0.04, 0.05, 0.05],
}


def network(name="resnet10t", channels=1, seed=0):
    torch.manual_seed(seed)
    return timm.create_model(name, in_chans=channels, num_classes=0)


def model(seed=0, backbone="resnet10t"):
    return DINO(network(backbone, seed=seed), PROTOTYPES, hidden=48, bottleneck=16)


def crops(seed, dtype=torch.float32, side=32):
    draws = torch.Generator().manual_seed(seed)
    big = torch.randn(2 * BATCH, 1, side, side, generator=draws)
    return big.to(dtype), torch.randn(LOCALS * BATCH, 1, side // 2, side // 2, generator=draws).to(dtype)


def values(i, scale=1.0):
    plan = {name: value[i] for name, value in PLAN.items()}
    return plan | {"learning_rate": plan["learning_rate"] * scale}


class Plain(nn.Module):
    """Backbone, layers and torch's own weight normalisation with g fixed at 1."""

    def __init__(self, network):
        super().__init__()
        self.backbone = copy.deepcopy(network.backbone)
        self.layers = copy.deepcopy(network.head.layers)
        prototypes = network.head.prototypes
        self.last = weight_norm(nn.Linear(prototypes.shape[1], len(prototypes), bias=False, dtype=prototypes.dtype))
        with torch.no_grad():
            self.last.parametrizations.weight.original0.fill_(1)
            self.last.parametrizations.weight.original1.copy_(prototypes)
        self.last.parametrizations.weight.original0.requires_grad_(False)

    def forward(self, views):
        sides = sorted({view.shape[-1] for view in views}, reverse=True)
        features = [self.backbone(torch.cat([view for view in views if view.shape[-1] == side])) for side in sides]
        x = self.layers(torch.cat(features))
        x = x / x.pow(2).sum(1, keepdim=True).sqrt()
        return self.last(x)

    def named(self, state):
        """The names of `Network` for a dict by the names of this class."""
        renamed = {name: name.replace("layers.", "head.layers.") for name in state if name.startswith("layers.")}
        renamed["last.parametrizations.weight.original1"] = "head.prototypes"
        kept = (name for name in state if not name.endswith("original0"))
        return {renamed.get(name, name): state[name] for name in kept}


def naive_step(student, teacher, centre, optimizer, big, small, i, plan, clip, freeze):
    """One step as the paper and its published settings have it, tensor by tensor. Returns (loss, centre, clipped)."""
    for g, group in enumerate(optimizer.param_groups):
        group["lr"] = plan["learning_rate"]
        if g == 0:
            group["weight_decay"] = plan["weight_decay"]
    views = [*big.split(BATCH), *small.split(BATCH)]
    with torch.no_grad():
        t = teacher(views[:2])
    s = student(views).split(BATCH)
    q = torch.softmax((t - centre) / plan["teacher_temperature"], dim=-1).split(BATCH)
    terms = [
        -(q[g] * F.log_softmax(s[v] / 0.1, dim=-1)).sum(-1).mean() for g in range(2) for v in range(len(s)) if v != g
    ]
    loss = sum(terms) / len(terms)
    centre = 0.9 * centre + 0.1 * t.mean(0)
    optimizer.zero_grad()
    loss.backward()
    clipped = []
    for parameter in student.parameters():
        if parameter.grad is not None:
            factor = clip / (parameter.grad.norm(2).item() + 1e-6)
            clipped.append(factor < 1)
            if factor < 1:
                parameter.grad.mul_(factor)
    if freeze:
        student.last.parametrizations.weight.original1.grad = None
    optimizer.step()
    with torch.no_grad():
        for of_student, of_teacher in zip(student.parameters(), teacher.parameters(), strict=True):
            of_teacher.mul_(plan["momentum"]).add_((1 - plan["momentum"]) * of_student)
    return loss.item(), centre, clipped


def gap(mine, theirs):
    assert mine.keys() == theirs.keys()
    return max((mine[name].double() - theirs[name].double()).abs().max().item() for name in mine)


@pytest.mark.parametrize(
    ("kind", "scale", "dtype", "tolerance"),
    [("sgd", 1, torch.float32, 5e-4), ("sgd", 1, torch.float64, 1e-12), ("adamw", 0.01, torch.float64, 1e-9)],
)
def test_three_steps_equal_the_naive_ones(kind, scale, dtype, tolerance):
    mine = model().to(dtype)
    student, teacher = Plain(mine.student), Plain(mine.student)
    trained = [p for p in student.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1]},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    kinds = {
        "sgd": lambda: torch.optim.SGD(groups, lr=0, momentum=0.9),
        "adamw": lambda: torch.optim.AdamW(groups, lr=0.0),
    }
    naive, optimizer = kinds[kind](), optimizer_of(mine, kind)
    centre, clipped = torch.zeros(PROTOTYPES, dtype=dtype), []
    for i in range(3):
        big, small = crops(i, dtype)
        options = {"clip": 0.05, "freeze_last": i == 0}
        seen = step(mine, optimizer, big, small, **values(i, scale), **options, dtype=dtype)
        loss, centre, which = naive_step(student, teacher, centre, naive, big, small, i, values(i, scale), 0.05, i == 0)
        clipped += which
        assert seen["loss"].item() == pytest.approx(loss, rel=tolerance)
    assert any(clipped) and not all(clipped)
    assert gap(mine.student.state_dict(), student.named(student.state_dict())) <= tolerance
    assert gap(mine.teacher.state_dict(), teacher.named(teacher.state_dict())) <= tolerance
    assert (mine.centre - centre).abs().max() <= tolerance and centre.abs().max() > 1e-3
    held = [
        {name: o.state[p] for name, p in m.named_parameters() if p in o.state}
        for o, m in ((optimizer, mine.student), (naive, student))
    ]
    held[1] = student.named(held[1])
    for slot in ("momentum_buffer",) if kind == "sgd" else ("exp_avg", "exp_avg_sq"):
        assert gap(*({name: state[slot] for name, state in states.items()} for states in held)) <= tolerance
    counts = [m.backbone.bn1.num_batches_tracked.item() for m in (mine.student, mine.teacher)]
    assert counts == [6, 3]  # the student sees globals, then locals; the teacher globals alone


def test_frozen_prototypes_stay_and_all_else_moves():
    mine = model()
    optimizer = optimizer_of(mine, "sgd")
    before = copy.deepcopy(mine.student.state_dict())
    for i in range(2):
        step(mine, optimizer, *crops(i), **values(i), freeze_last=True)
    after = mine.student.state_dict()
    assert torch.equal(after["head.prototypes"], before["head.prototypes"])
    assert torch.equal(mine.teacher.head.prototypes, before["head.prototypes"])
    assert not torch.equal(after["head.layers.0.weight"], before["head.layers.0.weight"])
    step(mine, optimizer, *crops(2), **values(2))
    assert not torch.equal(mine.student.head.prototypes, before["head.prototypes"])


def test_the_teacher_is_a_copy_without_gradients_in_training_mode():
    mine = model()
    assert gap(mine.student.state_dict(), mine.teacher.state_dict()) == 0
    assert mine.teacher.training and not any(p.requires_grad for p in mine.teacher.parameters())
    assert mine.teacher_backbone is mine.teacher.backbone
    step(mine, optimizer_of(mine, "sgd"), *crops(0), **values(0))
    assert all(p.grad is None for p in mine.teacher.parameters())


def test_only_matrices_kernels_and_prototypes_decay():
    mine = model()
    decayed, rest = parameter_groups(mine.student)
    names = {id(p): name for name, p in mine.student.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {n for n, p in mine.student.named_parameters() if p.ndim > 1}
    assert "head.prototypes" in {names[id(p)] for p in decayed["params"]}
    assert len(decayed["params"]) + len(rest["params"]) == len(names) and rest["weight_decay"] == 0
    optimizer = optimizer_of(mine, "adamw")
    step(mine, optimizer, *crops(0), **values(0))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


def test_one_channel_equals_three_replicated_ones():
    grey, colour = network("resnet18").double(), network("resnet18", 3, seed=1).double()
    state = {name: value.clone() for name, value in grey.state_dict().items()}
    state["conv1.weight"] = state["conv1.weight"].repeat(1, 3, 1, 1) / 3
    colour.load_state_dict(state)
    big, _ = crops(0, torch.float64)
    torch.testing.assert_close(grey(big), colour(big.repeat(1, 3, 1, 1)), rtol=0, atol=1e-10)
    torch.testing.assert_close(grey.bn1.running_var, colour.bn1.running_var, rtol=0, atol=1e-10)


def test_channels_last_and_plain_layouts_agree():
    plain, last = model().double(), model().double().to(memory_format=torch.channels_last)
    big, small = crops(0, torch.float64)
    for one in (plain, last):
        optimizer = optimizer_of(one, "sgd")
        chosen = torch.channels_last if one is last else torch.contiguous_format
        for _ in range(2):
            # one channel has both layouts at once: strides that say channels_last are asked for by name
            views = [view.clone().to(memory_format=chosen) for view in (big, small)]
            seen = step(one, optimizer, *views, **values(0), dtype=torch.float64)
    assert gap(plain.student.state_dict(), last.student.state_dict()) <= 1e-10
    assert math.isfinite(seen["loss"])


def test_bfloat16_is_close_to_float32_and_keeps_float32_weights():
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        mine = model()
        optimizer = optimizer_of(mine, "sgd")
        # 64 px: torch 2.15 on CPUs gets bfloat16 weight gradients wrong where a stage is one pixel, as of 16 px crops
        steps = [step(mine, optimizer, *crops(i, side=64), **values(i, 0.1), dtype=dtype) for i in range(3)]
        losses.append([seen["loss"].item() for seen in steps])
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.02)
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert {p.dtype for p in mine.parameters()} == {torch.float32} and mine.centre.dtype == torch.float32


def test_without_local_crops_and_with_locals_of_the_global_size():
    mine = model()
    big, _ = crops(0)
    student, teacher = mine(big)
    assert student.shape == teacher.shape == (2, BATCH, PROTOTYPES)
    assert torch.equal(student, model()(big, big[:0, :, :16, :16])[0])
    calls = []
    mine.student.backbone.register_forward_hook(lambda *_: calls.append(1))
    assert mine(big, big[:BATCH])[0].shape == (3, BATCH, PROTOTYPES) and len(calls) == 1


def test_a_compiled_student_does_the_same():
    torch._dynamo.reset()  # of what other tests compiled
    plain, compiled = model(), model()
    compiled.student = torch.compile(compiled.student, backend="eager", fullgraph=True)
    for one in (plain, compiled):
        optimizer = optimizer_of(one, "sgd")
        for i in range(2):
            step(one, optimizer, *crops(i), **values(i), freeze_last=i == 0)
    assert gap(plain.teacher.state_dict(), compiled.teacher.state_dict()) <= 1e-6


def test_what_is_seen_tells_collapse_from_life():
    mine = model()
    optimizer = optimizer_of(mine, "sgd")
    seen = step(mine, optimizer, *crops(0), **values(0), clip=0)
    assert set(seen) == {"loss", "entropy", "kl", "used", "centre_norm", "gradient_norm"}
    assert all(value.ndim == 0 and not value.requires_grad for value in seen.values())
    assert 0 < seen["entropy"] < math.log(PROTOTYPES) and seen["kl"] > 0
    gradients = torch.cat([p.grad.flatten() for p in mine.student.parameters()])
    assert seen["gradient_norm"].item() == pytest.approx(gradients.norm().item(), rel=1e-5)
    with torch.no_grad():  # a head that says the same of every image: one prototype of the 8 that 8 views could take
        mine.teacher.head.layers[4].weight.zero_()
        mine.teacher.head.layers[4].bias.normal_()
    same = step(mine, optimizer, *crops(1), **values(1) | {"momentum": 1.0}, centre_momentum=None)
    assert same["used"].item() == 1 / 8
    assert same["centre_norm"] == seen["centre_norm"]  # None: the centre stays


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_never_waits_for_the_device(kind):
    mine = model().cuda().to(memory_format=torch.channels_last)
    optimizer = optimizer_of(mine, kind)
    views = [view.cuda() for view in crops(0)]
    step(mine, optimizer, *views, **values(0), dtype=torch.bfloat16)
    torch.cuda.set_sync_debug_mode("error")
    try:
        seen = step(mine, optimizer, *views, **values(1), dtype=torch.bfloat16, freeze_last=True)  # a wait would raise
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.is_cuda and value.isfinite() for value in seen.values())


def test_head_puts_out_cosines():
    torch.manual_seed(0)
    head = Head(8, 5, hidden=16, bottleneck=4)
    features = torch.randn(3, 8)
    points = head.layers(features)
    expected = [
        [F.cosine_similarity(point, prototype, dim=0).item() for prototype in head.prototypes] for point in points
    ]
    assert torch.allclose(head(features), torch.tensor(expected), atol=1e-6)
    assert all(layer.bias.abs().max() == 0 for layer in head.layers[::2])
    assert Head(300, 5).layers[2].weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_what_does_not_fit_is_named():
    with pytest.raises(UsageError, match="1 prototypes cannot tell images apart; expected at least 2"):
        DINO(network(), 1)
    with pytest.raises(UsageError, match="the backbone has a classifier of 3 classes; make it with num_classes=0"):
        DINO(timm.create_model("resnet10t", in_chans=1, num_classes=3), PROTOTYPES)
    mine = model()
    big, small = crops(0)
    with pytest.raises(UsageError, match="optimizer 'lars' is unknown; expected sgd or adamw"):
        optimizer_of(mine, "lars")
    with pytest.raises(UsageError, match=r"global crops \(7, 1, 32, 32\) do not fit; expected \(2 B, C, S, S\)"):
        mine(big[:7], small)
    with pytest.raises(UsageError, match=r"local crops \(11, 1, 16, 16\) do not fit .* expected \(L x 4, 1, s, s\)"):
        mine(big, small[:11])
