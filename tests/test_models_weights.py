"""State dicts of wrapped networks, and of AdderNet's official ResNet-20."""

import copy
import io
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.errors import CheckpointError
from saa_lite.models import create_model, load_weights
from saa_lite.nn import AdderConv2d, BinaryConv2d
from saa_lite.train import load_checkpoint, save_checkpoint

State = dict[str, Tensor]


def official_state(classes: int = 10) -> State:
    """Random tensors under the keys of huawei-noah/AdderNet's ``resnet20.py``."""
    generator = torch.Generator().manual_seed(0)
    state: State = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def draw(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator)

    draw("conv1.weight", 16, 3, 3, 3)
    norm("bn1", 16)
    before = 16
    for stage, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(3):
            name = f"layer{stage}.{block}"
            draw(f"{name}.conv1.adder", width, before, 3, 3)
            norm(f"{name}.bn1", width)
            draw(f"{name}.conv2.adder", width, width, 3, 3)
            norm(f"{name}.bn2", width)
            if before != width:
                draw(f"{name}.downsample.0.adder", width, before, 1, 1)
                norm(f"{name}.downsample.1", width)
            before = width
    draw("fc.weight", classes, 64, 1, 1)
    norm("bn2", classes)
    return state


def adder(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """−Σ|x − w| over every patch, in float64 (AdderNet, eq. 2)."""
    filters, _, size, _ = weight.shape
    patches = F.unfold(x, size, padding=size // 2, stride=stride)  # [B,K,Q]
    distances = (patches[:, None] - weight.flatten(1)[None, :, :, None]).abs().sum(2)
    return -distances.unflatten(2, (x.shape[2] // stride, -1)).view(
        len(x), filters, -1, x.shape[3] // stride
    )


def official_logits(state: State, images: Tensor) -> Tensor:
    """The official network in evaluation mode, from its description, without any module."""
    s = {name: value.double() for name, value in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, gain, bias = (
            s[f"{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    x = norm(F.conv2d(images.double(), s["conv1.weight"], padding=1), "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(adder(x, s[f"{name}.conv1.adder"], stride), f"{name}.bn1").relu()
            y = norm(adder(y, s[f"{name}.conv2.adder"], 1), f"{name}.bn2")
            if stride == 2:
                x = norm(adder(x, s[f"{name}.downsample.0.adder"], 2), f"{name}.downsample.1")
            x = (x + y).relu()
    return norm(F.conv2d(x.mean((2, 3), keepdim=True), s["fc.weight"]), "bn2").flatten(1)


@pytest.mark.parametrize("prefix", ["", "module."])  # the released file has the second
def test_official_resnet20_computes_what_it_did(prefix: str) -> None:
    state = official_state()
    net = create_model("resnet20", conv="adder").double()
    load_weights(net, {prefix + name: value for name, value in state.items()})
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    logits = net.eval()(images)
    torch.testing.assert_close(logits, official_logits(state, images))
    assert logits.std() > 0.1
    assert net.get_buffer("bn1.num_batches_tracked") == 7


@pytest.mark.parametrize(
    ("make", "spoil", "message"),
    [
        (
            lambda: create_model("resnet20"),
            lambda s: s,
            r"other operators: stage1\.0\.conv1 is an adder layer there and Conv2d here",
        ),
        (
            lambda: create_model("resnet20", conv="adder", num_classes=100),
            lambda s: s,
            r"classifier\.conv\.weight is \[10, 64, 1, 1\] there and \[100, 64, 1, 1\] here",
        ),
        (
            lambda: create_model("resnet32", conv="adder"),
            lambda s: s,
            r"other operators: stage1\.3\.conv1 is a convolution there and AdderConv2d here",
        ),
        (lambda: create_model("lenet5_bn", conv="adder"), lambda s: s, "only ResNet-20 is known"),
        (
            lambda: create_model("resnet20", conv="adder"),
            lambda s: s | {"layer9.0.bn1.bias": s["bn1.bias"]},
            r"stage9\.0\.bn1\.bias is \[16\] there and absent here",
        ),
    ],
)
def test_states_of_other_networks_change_nothing(
    make: Callable[[], nn.Module], spoil: Callable[[State], State], message: str
) -> None:
    net = make()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(net, spoil(official_state()))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def as_it_is(state: State) -> State:
    return state


def through_a_file(state: State) -> State:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("inserted", ["_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_names_of_wrappers_around_whole_and_parts_are_left_out(inserted: str) -> None:
    """As FullyShardedDataParallel names them, which only runs in a process group."""
    torch.manual_seed(0)
    saved, net = create_model("resnet8"), create_model("resnet8")
    state = {
        f"{inserted}.{name.replace('stage2.0.', f'stage2.{inserted}.0.')}": value
        for name, value in saved.state_dict().items()
    }
    load_weights(net, state)
    assert torch.equal(net.stage2[0].conv1.weight, saved.stage2[0].conv1.weight)
    wrapper = nn.Module()
    wrapper.add_module(inserted, create_model("resnet8"))
    load_weights(wrapper, saved.state_dict())
    assert torch.equal(wrapper.get_submodule(inserted).conv1.weight, saved.conv1.weight)


OPERATORS = {"conv": "a multiplication", "adder": "AdderConv2d", "binary": "BinaryConv2d"}


@pytest.mark.parametrize("handed_on", [as_it_is, through_a_file, copy.deepcopy])
@pytest.mark.parametrize("here", OPERATORS)
@pytest.mark.parametrize("there", OPERATORS)
def test_states_of_other_operators_are_told_by_their_metadata(
    there: str, here: str, handed_on: Callable[[State], State]
) -> None:
    """Without it nothing tells, since names and shapes are the same."""
    saved, net = (create_model("resnet8", conv=kind) for kind in (there, here))
    state = handed_on(nn.DataParallel(torch.compile(saved, backend="eager")).state_dict())
    before = net.conv1.weight.clone()
    if there != here:
        theirs = f"is of a network with other operators: stage1.0.conv1 is {OPERATORS[there]} there"
        with pytest.raises(CheckpointError, match=re.escape(theirs)):
            load_weights(net, state)
        assert torch.equal(net.conv1.weight, before)
    load_weights(net, dict(state) if there != here else state)
    assert torch.equal(net.conv1.weight, saved.conv1.weight)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("handed_on", [as_it_is, through_a_file, copy.deepcopy])
def test_torch_s_own_loading_refuses_a_state_that_names_another_operator(
    handed_on: Callable[[State], State], strict: bool
) -> None:
    adders, shifts = (create_model("resnet8", conv=kind) for kind in ("adder", "shift"))
    state = handed_on(adders.state_dict())
    before = shifts.stage1[0].conv1.weight.clone()
    with pytest.raises(RuntimeError, match=r"stage1\.0\.conv1 is AdderConv2d there") as caught:
        shifts.load_state_dict(state, strict=strict)
    assert str(caught.value).count("other operators") == 1  # of all layers the first
    assert "Missing" not in str(caught.value)
    assert torch.equal(shifts.stage1[0].conv1.weight, before)
    shifts.load_state_dict(dict(state), strict=strict)  # whoever wants it
    assert torch.equal(shifts.stage1[0].conv1.weight, adders.stage1[0].conv1.weight)


class Mine(AdderConv2d):
    """A user's adder."""


def test_torch_s_own_loading_takes_what_fits() -> None:
    saved, net = (torch.compile(adder_net(), backend="eager") for _ in range(2))
    net.load_state_dict(saved.state_dict())
    assert torch.equal(net.conv1.weight, saved.conv1.weight)
    net.load_state_dict(saved.state_dict(), assign=True)
    mine = Mine(3, 4, 3)
    mine.load_state_dict(AdderConv2d(3, 4, 3).state_dict())  # a class of one's own is an adder
    AdderConv2d(3, 4, 3).load_state_dict(nn.Conv2d(3, 4, 3).state_dict())  # names no operator
    with pytest.raises(RuntimeError, match="the layer is AdderConv2d there and BinaryConv2d here"):
        BinaryConv2d(3, 4, 3).load_state_dict(AdderConv2d(3, 4, 3).state_dict())


def adder_net() -> nn.Module:
    return create_model("resnet8", conv="adder")


def test_a_pickled_network_is_no_state() -> None:
    net = create_model("resnet8")
    with pytest.raises(TypeError, match=r"must be a dict of tensors.*; got CifarResNet"):
        load_weights(net, net)  # type: ignore[arg-type]
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, "net": net.state_dict()}
    expected = r"tensors.*; got a dict that holds int; give its entry \['net'\]$"
    with pytest.raises(TypeError, match=expected):
        load_weights(net, checkpoint)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"; got a dict that holds int$"):
        load_weights(net, {"epoch": 3})  # type: ignore[dict-item]


def test_a_state_of_a_diverged_training_is_refused() -> None:
    net = create_model("resnet8")
    state = {name: value.clone() for name, value in net.state_dict().items()}
    state["conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"holds NaN or infinity in conv1\.weight"):
        load_weights(net, state)
    assert all(value.isfinite().all() for value in net.state_dict().values())


def partly_compiled(net: nn.Module) -> nn.Module:
    net.stage2 = torch.compile(net.stage2, backend="eager")
    return net


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": lambda net: net,
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "data-parallel": nn.DataParallel,
    "both": lambda net: nn.DataParallel(torch.compile(net, backend="eager")),
    "compiled in part": partly_compiled,
}


@pytest.mark.parametrize("here", WRAPPERS)
@pytest.mark.parametrize("there", WRAPPERS)
def test_wrappers_do_not_matter(there: str, here: str, tmp_path) -> None:
    torch.manual_seed(0)
    saved, nets = create_model("resnet8", conv="shift"), []
    wrapped = WRAPPERS[there](saved)
    for _ in range(2):
        nets.append(create_model("resnet8", conv="shift"))
    weight = saved.conv1.weight.clone()
    assert not torch.equal(nets[0].conv1.weight, weight)
    load_weights(WRAPPERS[here](nets[0]), wrapped.state_dict())
    save_checkpoint(str(tmp_path), wrapped)
    load_checkpoint(str(tmp_path), WRAPPERS[here](nets[1]))
    for net in nets:
        assert torch.equal(net.conv1.weight, weight)
