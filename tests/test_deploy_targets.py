"""Linked for processors and run in an emulator: no multiplication, the same bits, counted."""

from dataclasses import replace

import pytest
from deploy_samples import exported, images

from saa_lite.deploy import Source, write_source
from saa_lite.deploy.emulate import Emulator
from saa_lite.deploy.predict import predict_flash
from saa_lite.deploy.targets import TARGETS, MultiplicationError, link, missing_tools

pytestmark = pytest.mark.skipif(
    bool(missing_tools()), reason=f"the extra deploy is not installed: {missing_tools()}"
)


def planted(source: Source) -> Source:
    """In the classifier: a sum times a number of the input, not twice the sum."""
    wrong = source.code.replace("total <<= 1;", "total *= (uint32_t)net_arena.u8[e];", 1)
    assert wrong != source.code
    return replace(source, code=wrong)


def test_rv32i_links_without_a_multiplication_and_not_with_one() -> None:
    source = write_source(exported("resnet8", "adder"))
    assert link(source, "rv32i").ram == source.arena.bytes
    with pytest.raises(MultiplicationError, match=r"cannot be linked for rv32i .* __mulsi3"):
        link(planted(source), "rv32i")


@pytest.mark.parametrize("optimise", ["-Os", "-O3"])
def test_the_compiler_makes_no_multiplication_of_its_own(optimise: str) -> None:
    for conv in ("shift", "binary"):
        link(write_source(exported("resnet8", conv)), "rv32i", (optimise,))


@pytest.mark.parametrize(
    ("target", "name", "conv", "size"),
    [
        ("rv32i", "resnet8", "adder", 16),
        ("cortex-m0", "lenet5_bn", "shift", 32),
        ("cortex-m4", "resnet8", "adder", 16),
        ("cortex-m7", "lenet5_bn", "binary", 32),
    ],
)
def test_emulated_processors_give_the_bits_of_pytorch(
    target: str, name: str, conv: str, size: int
) -> None:
    graph = exported(name, conv, 4, size)
    source = write_source(graph, lanes=TARGETS[target].lanes)
    image = link(source, target)
    emulator = Emulator(source, image)
    expected = graph.expected(images(2, size, seed=8))
    for number in range(2):
        run = emulator.run(expected[0][number])
        assert emulator.first_difference(run, expected, number) is None
    assert image.ram == source.arena.bytes == source.arena.predicted
    assert abs(predict_flash(source, target).total / image.flash - 1) < 0.05


@pytest.mark.parametrize(("bits", "target"), [(2, "rv32i"), (3, "cortex-m0"), (6, "cortex-m4")])
def test_flash_is_foretold_of_a_network_that_the_estimate_was_not_fitted_to(
    bits: int, target: str
) -> None:
    graph = exported("mobilenet_v2_tiny", "adder", bits, 16)
    source = write_source(graph, lanes=TARGETS[target].lanes)
    assert abs(predict_flash(source, target).total / link(source, target).flash - 1) < 0.05


def test_the_emulator_names_a_wrong_layer_and_counts_instructions() -> None:
    """Both counters of the emulator agree: blocks by their length, and one by one.

    On Thumb but for a thousandth: instructions that a condition skips are in a block's length.
    """
    import unicorn  # noqa: PLC0415

    graph = exported("lenet5_bn", "binary", 4, 32)
    for target in ("rv32i", "cortex-m7"):
        source = write_source(graph)
        emulator = Emulator(source, link(source, target))
        seen = [0]

        def tick(*_: object, seen: list[int] = seen) -> None:
            seen[0] += 1

        emulator._machine.hook_add(unicorn.UC_HOOK_CODE, tick)
        expected = graph.expected(images(1, 32, seed=9))
        run = emulator.run(expected[0][0])
        counted = sum(run.instructions)
        assert counted == seen[0] if target == "rv32i" else abs(counted / seen[0] - 1) < 2e-3
        expected[graph.layers[1].outputs[0].map.index][0, 0] ^= 1
        assert emulator.first_difference(run, expected, 0) == graph.layers[1].name


def test_four_distances_at_once_beat_four_products_on_cortex_m4() -> None:
    """The claim on a processor that has both: fewer instructions in layers of the same shape."""
    counts = {}
    for conv in ("adder", "conv"):
        graph = exported("resnet8", conv)
        source = write_source(graph, lanes=True, multiply=conv == "conv")
        expected = graph.expected(images(1, seed=8))
        run = Emulator(source, link(source, "cortex-m4")).run(expected[0][0])
        names = [layer.name for layer in graph.layers]
        counts[conv] = dict(zip(names, run.instructions, strict=True))
    for name in ("stage1.0.conv1", "stage2.0.conv2", "stage3.0.conv2"):
        assert counts["adder"][name] < counts["conv"][name]
