"""How much each number that a block puts out matters to the network's answer (BRECQ).

BRECQ (ICLR 2021, eq. 10) weights the squared error of a block's output with the squared gradient
of the loss there, the diagonal of the Fisher information. Its released code takes the gradient of
KL(network ‖ network quantised up to and including this block), and adds 1 to the gradients'
magnitudes. Those are so much smaller than 1 that the weights are then all but equal (and its main
script switches them off). Our reading: gradients are first divided by their root mean square, so
that the 1 damps as named, and the weights have mean 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from saa_lite.quantize.calls import hooked

DAMPING = 1.0


def fisher_weights(
    reference: nn.Module, quantized: nn.Module, block: str, images: Tensor, batch_size: int
) -> Tensor:
    """Weights of the outputs of ``block``, in their shape [N, …], of mean 1.

    Args:
        quantized: the network with everything behind ``block`` in full precision.
    """
    batches = images.split(batch_size)
    gradient = torch.cat([_gradient(reference, quantized, block, batch) for batch in batches])
    size = gradient.square().mean().sqrt()
    relative = gradient.abs() / size if size > 0 else torch.zeros_like(gradient)
    weights = (relative + DAMPING).square()
    return weights / weights.mean()


def _gradient(reference: nn.Module, quantized: nn.Module, block: str, images: Tensor) -> Tensor:
    """∂KL/∂output for each image on its own, [B, …]."""
    leaves: list[Tensor] = []

    def cut(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[0].clone()  # a copy, as what follows may work in place

    with torch.no_grad():
        expected = F.softmax(reference(images), 1)
    with torch.enable_grad(), hooked(quantized.get_submodule(block).register_forward_hook(cut)):
        answer = F.log_softmax(quantized(images), 1)
        # Summed, not averaged: one image's gradient does not depend on the others.
        F.kl_div(answer, expected, reduction="sum").backward()
    gradient = leaves[0].grad
    assert gradient is not None
    return gradient
