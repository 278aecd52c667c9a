"""Wrong arguments to the adder operators: the exception, and what its one sentence says."""

import pytest
import torch

from saa_lite.errors import UsageError
from saa_lite.nn import AdderConv2d, AdderLinear
from saa_lite.ops import adder_conv2d, adder_linear, reference

X, W = torch.ones(1, 4, 5, 5), torch.ones(6, 4, 3, 3)
GEOMETRY = ((1, 1), (0, 0), (1, 1), 1)

TENSORS = [
    (TypeError, "input must be a torch.Tensor; got list", [1], W),
    (TypeError, "weight must be a torch.Tensor; got NoneType", X, None),
    (TypeError, "weight must be a torch.Tensor; got ndarray", X, W.numpy()),
    (TypeError, "input must be torch.float32 or torch.float64; got torch.int32", X.int(), W.int()),
    (TypeError, "input must be .*; got torch.bool", X.bool(), W.bool()),
    (TypeError, "input must be .*; got torch.float16", X.half(), W.half()),
    (TypeError, "input must be .*; got torch.bfloat16", X.bfloat16(), W.bfloat16()),
    (TypeError, "input must be .*; got torch.complex64", X.cfloat(), W.cfloat()),
    (TypeError, "weight must be .*; got torch.float16", X, W.half()),
    (TypeError, "share a dtype; got torch.float64 and torch.float32", X.double(), W),
    (TypeError, "share a dtype; got torch.float32 and torch.float64", X, W.double()),
    (UsageError, "on one device; got meta and cpu", X.to("meta"), W),
    (UsageError, "on one device; got cpu and meta", X, W.to("meta")),
    (UsageError, r"input must have shape \[batch, .*; got \[4, 5, 5\]", X[0], W),
    (UsageError, r"input must have shape .*; got \[1, 1, 4, 5, 5\]", X[None], W),
    (UsageError, r"input must have shape .*; got \[\]", torch.tensor(1.0), W),
    (UsageError, r"weight must have shape \[filters, .*; got \[4, 3, 3\]", X, W[0]),
    (UsageError, r"must have 3 channels \(weight \[6, 3, 3, 3\], groups=1\); got 4", X, W[:, :3]),
    (UsageError, r"kernel \[7, 7\] .* must fit .* input \[5, 5\]", X, torch.ones(6, 4, 7, 7)),
    (UsageError, r"kernel \[1, 6\] .* must fit", X, torch.ones(6, 4, 1, 6)),
    (UsageError, r"at least 1 × 1; got \[0, 3\]", X, W[:, :, :0]),
    (UsageError, r"must fit into .* input \[0, 5\]", X[:, :, :0], W),
]

ARGUMENTS = [
    ("stride must be at least 1; got 0", {"stride": 0}),
    (r"stride must be at least 1; got \(1, -2\)", {"stride": (1, -2)}),
    ("stride must be an int or a pair of ints; got 1.0", {"stride": 1.0}),
    ("stride must be an int or a pair of ints; got True", {"stride": True}),
    (r"stride must be .*; got \(1, True\)", {"stride": (1, True)}),
    ("stride must be .*; got None", {"stride": None}),
    (r"stride must be .*; got \(\)", {"stride": ()}),
    ("stride must be .*; got '12'", {"stride": "12"}),
    ("padding must be at least 0; got -1", {"padding": -1}),
    ("padding must be an int or a pair of ints; got 'same'", {"padding": "same"}),
    (r"padding must be .*; got \(0.5, 1\)", {"padding": (0.5, 1)}),
    ("dilation must be at least 1; got 0", {"dilation": 0}),
    (r"dilation must be .*; got \(1, 1, 1\)", {"dilation": (1, 1, 1)}),
    (r"dilation \[3, 3\] must fit into the padded input", {"dilation": 3}),
    ("groups must be an int of at least 1; got 0", {"groups": 0}),
    ("groups must be an int of at least 1; got -2", {"groups": -2}),
    ("groups must be an int of at least 1; got 2.0", {"groups": 2.0}),
    ("groups must be an int of at least 1; got True", {"groups": True}),
    ("filters must be divisible by groups=4; got 6", {"groups": 4}),
    (r"must have 8 channels .*groups=2\); got 4", {"groups": 2}),
    (
        "weight_gradient must be one of 'full', 'sign'; got 'clip'",
        {"weight_gradient": "clip"},
    ),
    ("weight_gradient must be .*; got None", {"weight_gradient": None}),
    (
        "input_gradient must be one of 'clip', 'full', 'sign'; got 'Clip'",
        {"input_gradient": "Clip"},
    ),
]


@pytest.mark.parametrize(("kind", "message", "x", "w"), TENSORS)
def test_wrong_tensors(kind, message, x, w):
    with pytest.raises(kind, match=message) as caught:
        adder_conv2d(x, w)
    assert str(caught.value).startswith("adder_conv2d: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("message", "arguments"), ARGUMENTS)
def test_wrong_arguments(message, arguments):
    with pytest.raises(UsageError, match=message) as caught:
        adder_conv2d(X, W, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("message", "arguments"), ARGUMENTS)
def test_wrong_arguments_are_refused_for_fake_tensors_too(message, arguments):
    with pytest.raises(UsageError, match=message):
        adder_conv2d(X.to("meta"), W.to("meta"), **arguments)


@pytest.mark.parametrize(
    ("kind", "message", "x", "w", "options"),
    [
        (TypeError, "must be torch.Tensors", [1.0], torch.ones(4, 3), {}),
        (TypeError, "must be torch.Tensors", torch.ones(2, 3), None, {}),
        (TypeError, "float32 or", torch.ones(2, 3).int(), torch.ones(4, 3).int(), {}),
        (TypeError, "share a dtype", torch.ones(2, 3).double(), torch.ones(4, 3), {}),
        (UsageError, r"got \[2, 3\] and \[4, 5\]", torch.ones(2, 3), torch.ones(4, 5), {}),
        (UsageError, r"got \[\] and \[4, 3\]", torch.tensor(1.0), torch.ones(4, 3), {}),
        (UsageError, "in_features", torch.ones(2, 3), torch.ones(3), {}),
        (
            UsageError,
            "weight_gradient must be",
            torch.ones(2, 3),
            torch.ones(4, 3),
            {"weight_gradient": "none"},
        ),
    ],
)
def test_linear(kind, message, x, w, options):
    with pytest.raises(kind, match=message):
        adder_linear(x, w, **options)


def test_reference_names_its_surrogates_too():
    args = (torch.ones(1, 6, 3, 3), X, W, *GEOMETRY)
    with pytest.raises(UsageError, match="weight_gradient must be one of 'full', 'sign'"):
        reference.adder_weight_gradient(*args, "clip")
    with pytest.raises(UsageError, match="input_gradient must be one of 'clip', 'full', 'sign'"):
        reference.adder_input_gradient(*args, "none")


@pytest.mark.parametrize("shape", [(4, 5), (1, 1, 4, 5, 5), (3, 5, 5), (1, 3, 5, 5)])
def test_layer_refuses_other_shapes(shape):
    with pytest.raises(UsageError, match="input must have"):
        AdderConv2d(4, 6, 3, adaptive_lr="off")(torch.ones(shape))


def test_layers_refuse_other_dtypes():
    with pytest.raises(TypeError, match="share a dtype"):
        AdderConv2d(4, 6, 3, adaptive_lr="off")(X.double())
    with pytest.raises(TypeError, match="share a dtype"):
        AdderLinear(4, 6, adaptive_lr="off")(torch.ones(2, 4).double())
