"""``create_model(name, ...)``: a network of the registry, fresh or trained."""

from torch import nn

from saa_lite.errors import UsageError, check_choice
from saa_lite.models.blocks import CONV_KINDS
from saa_lite.models.registry import ModelInfo, describe, entry, list_models
from saa_lite.models.trained import WeightsName, fill, read_trained

CLASSES = 10  # without weights and unless told otherwise
COLOURS = 3


def create_model(
    name: str,
    num_classes: int | None = None,
    conv: str = "conv",
    small_input: bool = False,
    in_channels: int | None = None,
    width: int | None = None,
    weights: str | None = None,
) -> nn.Module:
    """Build a network: images [B,in_channels,H,W] → logits [B,classes].

    Its weights are fresh unless ``weights`` names trained ones; then it comes in evaluation mode,
    and its images must be normalised as :func:`weights_info` says::

        model = create_model("resnet20", conv="adder", weights="cifar10")
        info = weights_info("resnet20", conv="adder", weights="cifar10")
        logits = model(info.normalize(pixels))  # uint8 [B,3,32,32] → float32 [B,10]

    Args:
        name: one of :func:`list_models`.
        num_classes: number of logits; 10, or that of the weights, unless given.
        conv: operator of the layers that may lose multiplication: ``"conv"``, ``"adder"``,
            ``"shift"`` (DeepShift-Q), ``"shift-ps"``, ``"binary"`` (XNOR-Net) or ``"shiftadd"``
            (ShiftAddNet's shift layer followed by an adder layer).
        small_input: the form for 32² images; ``describe(name).small_input`` says what it changes.
        in_channels: 3 for colour, 1 for grey; 3, or that of the weights, unless given.
        width: channels of the first stage of ResNet-8, 20 and 32 (16 in the papers; further stages
            have two and four times as many). Other networks have one width.
        weights: the data set that the weights were trained on, one of :func:`list_weights`.

    Raises:
        UsageError: unknown name or operator, an operator that makes no sense in this network
            (:attr:`ModelInfo.variants` lists those that do), a count below 1, a width where
            the network has one, unknown weights, or a number that contradicts them.
        CheckpointError: the file of the weights is missing, torn, or not the one that was
            published.
    """
    info, build = entry(name)
    check_choice("conv", conv, CONV_KINDS)
    _check_variant(info, conv)
    if weights is not None:
        given = {"num_classes": num_classes, "in_channels": in_channels, "width": width}
        return _trained(WeightsName(name, conv, weights), small_input, given)
    counts = {
        "num_classes": CLASSES if num_classes is None else num_classes,
        "in_channels": COLOURS if in_channels is None else in_channels,
    }
    widths: tuple[int, ...] = ()
    if info.width is not None:
        widths = (info.width if width is None else width,)
        counts["width"] = widths[0]
    elif width is not None:
        able = ", ".join(n for n in list_models() if describe(n).width is not None)
        raise UsageError(f"width can be chosen for {able}; {name} has one; got width={width!r}")
    for argument, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise UsageError(f"{argument} must be an integer of at least 1; got {count!r}")
    return build(counts["num_classes"], conv, small_input, counts["in_channels"], *widths)


def _trained(name: WeightsName, small_input: bool, given: dict[str, int | None]) -> nn.Module:
    """A network that comes trained, in evaluation mode."""
    info, state = read_trained(name)
    network = create_model(
        name.model, conv=name.conv, small_input=small_input, **info.arguments(**given)
    )
    fill(network, info, state)
    return network.eval()


def _check_variant(info: ModelInfo, conv: str) -> None:
    if conv not in info.variants:
        listed = ", ".join(repr(kind) for kind in info.variants)
        raise UsageError(
            f"conv must be one of {listed} for {info.name}: {info.refuses}; got {conv!r}"
        )
