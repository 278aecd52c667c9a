"""Operators of this package as ONNX functions, whose bodies are standard operators.

A runtime that knows nothing of them evaluates the bodies, slowly; a compiler for hardware finds
them by their names (domain ``saa_lite``) and puts its own in their place. All work on integers and
on float32 alike.
"""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from saa_lite.errors import UsageError

if TYPE_CHECKING:  # an extra
    from onnx import ModelProto, NodeProto

Ints = np.ndarray
DOMAIN, OPSET, IR_VERSION = "saa_lite", 20, 10
PACKAGES = ("onnx", "onnxruntime")
SUMS = {"adder": "AdderSums", "shift": "ShiftSums", "binary": "BinarySums", "multiply": "Products"}
GIVEN = {"strides": "ints", "pads": "ints", "pad_code": "int", "group": "int", "windows": "ints",
         "filters": "ints", "size": "ints"}  # fmt: skip
GEOMETRY = ", ".join(GIVEN)
ALL_PASSED = f"<{', '.join(f'{name}: {kind} = @{name}' for name, kind in GIVEN.items())}>"
PASSED = "<pads: ints = @pads, pad_code: int = @pad_code, windows: ints = @windows>"

# A function calls only those before it. ``taps`` are the places of a filter's taps in a padded map,
# int32 [kh*kw, H'*W']. Where ties go tells the two quantisers apart: up, or to the even code.
FUNCTIONS = {
    "Windows": """<pads, pad_code, windows> (x, taps) => (found) {
        around = Constant <value_ints: ints = @pads> ()
        wide = Constant <value_int: int = @pad_code> ()
        code = CastLike (wide, x)
        padded = Pad (x, around, code)
        plane = Constant <value_ints = [0, 0, -1]> ()
        flat = Reshape (padded, plane)
        taken = Gather <axis = 2> (flat, taps)
        shape = Constant <value_ints: ints = @windows> ()
        found = Reshape (taken, shape)
    }""",
    "Products": f"""<{GEOMETRY}> (x, w, taps) => (sums) {{
        found = saa_lite.Windows {PASSED} (x, taps)
        shape = Constant <value_ints: ints = @filters> ()
        rows = Reshape (w, shape)
        weights = CastLike (rows, x)
        total = MatMul (weights, found)
        map = Constant <value_ints: ints = @size> ()
        sums = Reshape (total, map)
    }}""",
    "AdderSums": f"""<{GEOMETRY}> (x, w, taps) => (sums) {{
        found = saa_lite.Windows {PASSED} (x, taps)
        two = Constant <value_ints = [2]> ()
        each = Unsqueeze (found, two)
        shape = Constant <value_ints: ints = @filters> ()
        rows = Reshape (w, shape)
        last = Constant <value_ints = [-1]> ()
        columns = Unsqueeze (rows, last)
        weights = CastLike (columns, x)
        difference = Sub (each, weights)
        distance = Abs (difference)
        three = Constant <value_ints = [3]> ()
        total = ReduceSum <keepdims = 0> (distance, three)
        negative = Neg (total)
        map = Constant <value_ints: ints = @size> ()
        sums = Reshape (negative, map)
    }}""",
    "ShiftSums": f"""<{GEOMETRY}> (x, sign, exponent, taps) => (sums) {{
        two = Constant <value = int32 {{2}}> ()
        base = CastLike (two, x)
        p = CastLike (exponent, x)
        power = Pow (base, p)
        signs = CastLike (sign, x)
        w = Mul (power, signs)
        sums = saa_lite.Products {ALL_PASSED} (x, w, taps)
    }}""",
    "BinarySums": f"""<{GEOMETRY}> (x, w, taps) => (sums) {{
        sums = saa_lite.Products {ALL_PASSED} (x, w, taps)
    }}""",
    "Clipped": """<low, high, shift> (whole) => (codes) {
        least = Constant <value_int: int = @low> ()
        most = Constant <value_int: int = @high> ()
        first = Cast <to = 11> (least)
        last = Cast <to = 11> (most)
        clipped = Clip (whole, first, last)
        codes_64 = Cast <to = 7> (clipped)
        added = Constant <value_int: int = @shift> ()
        shifted = Add (codes_64, added)
        codes = Cast <to = 6> (shifted)
    }""",
    "Quantise": """<low, high, shift> (values, step) => (codes) {
        wide = Cast <to = 11> (values)
        scaled = Div (wide, step)
        half = Constant <value = double {0.5}> ()
        above = Add (scaled, half)
        whole = Floor (above)
        codes = saa_lite.Clipped <low: int = @low, high: int = @high, shift: int = @shift> (whole)
    }""",
    "QuantiseEven": """<low, high, shift> (values, step) => (codes) {
        wide = Cast <to = 11> (values)
        scaled = Div (wide, step)
        whole = Round (scaled)
        codes = saa_lite.Clipped <low: int = @low, high: int = @high, shift: int = @shift> (whole)
    }""",
    "Staircase": """<first, steps, most, scale> (sums, base, slope, phase, down) => (codes) {
        wide = Cast <to = 7> (sums)
        up = Sub (wide, base)
        fall = Sub (base, wide)
        rise = Where (down, fall, up)
        one = Constant <value = int64 {1}> ()
        zero = Constant <value = int64 {0}> ()
        next = Add (rise, one)
        factor = Constant <value_int: int = @scale> ()
        scaled = Mul (next, factor)
        room = Sub (scaled, one)
        left = Sub (room, phase)
        quotient = Div (left, slope)
        limit = Constant <value_int: int = @most> ()
        bounded = Min (quotient, limit)
        counted = Add (bounded, one)
        all = Constant <value_int: int = @steps> ()
        passed = Min (counted, all)
        below = Less (rise, zero)
        count = Where (below, zero, passed)
        least = Constant <value_int: int = @first> ()
        code = Add (count, least)
        codes = Cast <to = 6> (code)
    }""",
    "Signs": """(values) => (signs) {
        zero = Constant <value = float {0}> ()
        plus = Constant <value = float {1}> ()
        minus = Constant <value = float {-1}> ()
        falls = Less (values, zero)
        signs = Where (falls, minus, plus)
    }""",
    "FixedPoint": """<scale, low, high> (values) => (fixed) {
        factor = Constant <value_float: float = @scale> ()
        least = Constant <value_float: float = @low> ()
        most = Constant <value_float: float = @high> ()
        scaled = Mul (values, factor)
        whole = Floor (scaled)
        back = Div (whole, factor)
        fixed = Clip (back, least, most)
    }""",
}


def missing_onnx() -> list[str]:
    """Packages of the extra ``deploy`` that models need and that are not installed."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def check_onnx() -> None:
    """Raise :class:`UsageError` where the extra is missing."""
    if missing := missing_onnx():
        raise UsageError(
            f"{' and '.join(missing)} must be installed to write ONNX: "
            "pip install 'saa_lite[deploy]'"
        )


class Nodes:
    """Collects the nodes and constants of one model."""

    def __init__(self) -> None:
        import onnx  # noqa: PLC0415  (an extra)

        self.onnx = onnx
        self.nodes: list[NodeProto] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        domain = DOMAIN if kind in FUNCTIONS else ""
        node = self.onnx.helper.make_node(kind, inputs, [output], domain=domain, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, name: str, value: Any) -> str:
        """A constant, by its name."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def model(self, image: Sequence[int], outputs: dict[str, int], classes: int) -> "ModelProto":
        """``images`` float32 [N, *image] → the outputs [N, classes] of these types, checked."""
        helper = self.onnx.helper
        images = helper.make_tensor_value_info("images", 1, ["N", *image])
        made = [helper.make_tensor_value_info(n, t, ["N", classes]) for n, t in outputs.items()]
        graph = helper.make_graph(self.nodes, "network", [images], made, self.constants)
        model = helper.make_model(
            graph,
            functions=[self._function(name) for name in FUNCTIONS],
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
            ir_version=IR_VERSION,
            producer_name="saa_lite",
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _function(self, name: str) -> Any:
        head = f'<opset_import: ["" : {OPSET}, "{DOMAIN}" : 1], domain: "{DOMAIN}"> {name} '
        return self.onnx.parser.parse_function(head + FUNCTIONS[name])


def taps_of(
    columns: int, kernel: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> Ints:
    """Where the taps of each window lie in a padded map of so many columns: int32 [taps, area]."""
    y, x = np.ogrid[: kernel[0], : kernel[1]]
    tap = (y * columns + x).reshape(-1, 1)
    y, x = np.ogrid[: size[0], : size[1]]
    corner = (y * stride[0] * columns + x * stride[1]).reshape(1, -1)
    return (tap + corner).astype(np.int32)


def geometry(
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    groups: int,
    size: Sequence[int],
    pad_code: int = 0,
) -> dict[str, Any]:
    """Attributes as those of ``Conv``, and the shapes of what is computed between.

    Args:
        shape: of the weight; size: rows and columns of the output.
        pad_code: what padded pixels hold.
    """
    taps = shape[1] * shape[2] * shape[3]
    return {
        "strides": list(stride),
        "pads": [0, 0, *padding, 0, 0, *padding],
        "pad_code": pad_code,
        "group": groups,
        "windows": [0, groups, taps, -1],
        "filters": [1, groups, shape[0] // groups, taps],
        "size": [0, shape[0], *size],
    }


def run_onnx(model: "ModelProto", images: Tensor, outputs: Sequence[str]) -> list[Ints]:
    """The named outputs of a model on float32 images, by onnxruntime on one thread."""
    import onnxruntime  # noqa: PLC0415  (an extra)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns of every function that it does not fold
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: images.float().numpy()}
    found: list[Ints] = session.run(list(outputs), given)
    return found
