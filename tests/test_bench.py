"""The benchmark: what it compares computes the same, ratios are those of its times."""

import json
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from saa_lite.bench import contenders, measure, rounds, table
from saa_lite.bench.limits import limit, limit_call
from saa_lite.bench.measure import EMULATED, ONEDNN, Report, Result
from saa_lite.bench.networks import FORMULATION_BATCH, Network, network_calls
from saa_lite.bench.rounds import Spread, interleaved, spread
from saa_lite.bench.shapes import SHAPES, Shape
from saa_lite.cli import main
from saa_lite.errors import UsageError
from saa_lite.files import bench_dir, write_text
from saa_lite.kernels import machine
from saa_lite.ops import adder_conv2d
from saa_lite.report import readme

SMALL = Shape("small", 3, 5, 6, 3, stride=2, batch=2)


def test_every_adder_contender_computes_the_same_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "compiler_found", lambda: False)
    x, w = SMALL.tensors()
    expected = adder_conv2d(x, w, *SMALL.geometry)  # [2, 5, 3, 3]
    flat = -expected.permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    found = {name: call() for name, call in contenders.forward_calls(SMALL).items()}
    for name in ("ours, channels_last", "ours, contiguous", "AdderNet formulation"):
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-5)
    for name in ("torch.cdist", "scipy cdist", "scikit-learn"):
        assert abs(torch.as_tensor(found[name]) - torch.from_numpy(flat)).max() < 1e-4
    integers = found["ours, uint8"]
    assert integers.dtype == torch.int32
    assert integers.shape == found["ours, integer shift"].shape == expected.shape
    # Codes are 40 x + 128: the distances are 40 times as long, up to rounding of each tap.
    assert (integers / 40 - expected).abs().max() < 27 / 40 + 27 * 0.2
    assert found["convolution, contiguous"].shape == expected.shape
    assert "torch.compile" not in found


def test_the_kernel_has_its_limit_beside_it() -> None:
    kernel = contenders.ADDER_KERNEL
    assert list(contenders._kernels(SMALL)) == [contenders.limit_of(kernel), kernel]


def test_a_share_compares_the_two_times_of_each_round() -> None:
    """A clock at half its rate in two rounds of three: each pair says 80 %, their medians 40 %."""
    assert measure.share_of_limit([0.8, 1.6, 0.8], [1.0, 2.0, 1.0]) == 0.8
    assert measure.share_of_limit([0.8, 0.8, 1.6], [1.0, 2.0, 2.0]) == 0.8
    assert measure.share_of_limit(None, [1.0]) is None


def test_the_published_gradients_are_ours() -> None:
    found = {name: call() for name, call in contenders.backward_calls(SMALL).items()}
    # Each contender gets its own upstream gradient, so compare with one.
    x, w = (t.requires_grad_() for t in SMALL.tensors())
    grad = torch.ones(2, 5, 3, 3)
    ours = torch.autograd.grad(adder_conv2d(x, w, *SMALL.geometry), (x, w), grad)
    theirs = torch.autograd.grad(contenders.formulation(x, w, *SMALL.geometry), (x, w), grad)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert {len(gradients) for gradients in found.values()} == {2}


def test_networks_agree_with_the_published_formulation() -> None:
    calls = network_calls(Network("resnet20", 32, 2))
    assert calls["forward", "AdderNet formulation"][1] == FORMULATION_BATCH
    network = Network("resnet20", 32, FORMULATION_BATCH)
    calls = network_calls(network)
    ours, theirs = (calls["forward", name][0]() for name in ("ours", "AdderNet formulation"))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_shapes_count_their_distances() -> None:
    assert Shape("a", 16, 16, 32, 3).distances == 32 * 32 * 32 * 16 * 16 * 9
    assert SMALL.distances == 2 * 5 * 3 * 3 * 3 * 9
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


def test_calls_take_turns_and_warm_up_is_dropped() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    times = interleaved(calls, rounds=3, warm_up=2)
    assert order == ["a", "b"] * 5
    assert [len(found) for found in times.values()] == [3, 3]
    assert spread([3.0, 1.0, 2.0]) == Spread(2.0, 1.5, 2.5)
    assert spread([4.0]) == Spread(4.0, 4.0, 4.0)


def test_short_calls_fill_their_turn_after_one_that_does_not_count() -> None:
    order: list[str] = []

    def sleepy(name: str, seconds: float) -> None:
        order.append(name)
        time.sleep(seconds)

    calls = {"short": partial(sleepy, "short", 2e-3), "long": partial(sleepy, "long", 2e-2)}
    times = interleaved(calls, rounds=2, warm_up=3, turn=1e-2)
    again = order[6:].index("long")  # calls of the first turn of "short"
    assert 3 <= again <= 6
    assert order[6:] == (["short"] * again + ["long"]) * 2
    assert max(times["short"]) < min(times["long"])


@pytest.mark.parametrize(("seconds", "shared"), [(1e-5, False), (8e-3, True)])
def test_a_shared_core_is_noticed(
    seconds: float, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "interleaved", lambda *_: {"small": [seconds] * 9})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert rounds.threads_share_a_core() is shared


def test_the_limit_is_a_rate() -> None:
    """A multiply-add is one operation, |x − w| two; both far above a scalar processor's."""
    adder, convolution = (limit(kernel, attempts=5) for kernel in ("adder", "convolution"))
    assert adder > 1e9
    assert convolution > adder


@pytest.mark.parametrize("kernel", ["adder", "convolution", "uint8"])
def test_a_limit_takes_time_in_proportion(kernel: str) -> None:
    """The compiler has not done away with the loop."""
    short, long = (limit_call(kernel, results) for results in (5_000_000, 40_000_000))
    times = interleaved({"short": short, "long": long}, rounds=9, warm_up=1)
    assert min(times["long"]) > 3 * min(times["short"])


@pytest.mark.parametrize(
    ("contender", "kernel"),
    [
        ("ours, channels_last", "adder"),
        ("ours, kernel alone", "adder"),
        ("convolution, contiguous", "convolution"),
        ("ours, uint8", "uint8"),
    ],
)
def test_a_contender_above_its_limit_is_told(contender: str, kernel: str) -> None:
    """Four million results at four a nanosecond take a millisecond at least."""
    assert measure.limiting(contender) == kernel
    rates = dict.fromkeys(("adder", "convolution", "uint8"), 1e12) | {kernel: 4e9}
    for ms, expected in ((0.9, [f"a: {contender}"]), (0.97, []), (1.5, [])):
        seconds = Spread(ms / 1e3, ms / 1e3, ms / 1e3)
        one = Result("a", "forward", contender, 32, seconds, 4_000_000)
        given = replace(report(), threads=1, limits=rates, results=(one,))
        assert measure.beyond_limits(given) == expected


@pytest.mark.parametrize(
    "name", ["ours, integer shift", "ours, int8 shift, kernel alone", "torch.cdist", "a: limit"]
)
def test_other_contenders_have_no_limit_of_ours(name: str) -> None:
    assert measure.limiting(name) is None


def test_a_limit_is_that_of_the_best_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others slow the processor down in all moments but the second."""
    moments = {kernel: iter([3e9, 9e9, 2e9]) for kernel in measure.KERNELS}
    monkeypatch.setattr(measure, "limit", lambda kernel: next(moments[kernel]))
    monkeypatch.setattr(measure, "_comparisons", lambda: [("a", lambda _: [])] * 3)
    assert measure.measure(1, progress=False).limits == dict.fromkeys(measure.KERNELS, 9e9)


def test_no_tracked_contender_is_above_its_limit() -> None:
    assert not [name for one in readme.tracked_reports() for name in measure.beyond_limits(one)]


def report() -> Report:
    def result(
        work: str, contender: str, ms: float, batch: int = 32, share: float | None = None
    ) -> Result:
        seconds = Spread(ms / 1e3, ms / 2e3, ms / 5e2)
        return Result("a", work, contender, batch, seconds, 4_000_000, share)

    results = (
        result("forward", "ours, channels_last", 2.0),
        result("forward", "ours, contiguous", 3.0),
        result("forward", "ours, kernel alone", 1.0, share=0.5),
        result("forward", "convolution, channels_last", 1.6),
        result("forward", "convolution, contiguous", 2.5),
        result("forward", "ours, int8 shift", 0.8),  # only records of before have it
        result("forward", "ours, uint8", 0.8),
        result("forward", "AdderNet formulation", 25.0, batch=8),
    )
    return Report("a CPU", 2, 9, {"torch": "2"}, "abc", {"adder": 4e9}, ("mind",), results)


def test_table_rows_are_ratios_per_image() -> None:
    (row,) = table.rows(report())
    assert row["ours (ms)"] == "2.00 [1.00, 4.00]"
    assert row["÷ conv"] == "1.25"
    assert row["NCHW ÷ conv"] == "1.88"
    assert row["kernel (G/s)"] == "4"
    assert row["of limit"] == "50%"
    assert row["uint8 ÷ conv"] == "0.50"
    assert row["int32 shift ÷ conv"] is None
    assert row["formulation"] == "50.0 ×"
    assert row["cdist"] is None


def test_reports_survive_json() -> None:
    assert Report.from_json(json.loads(json.dumps(report().to_json()))) == report()


def test_command_prints_json_alone_and_records(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    monkeypatch.setattr(measure, "SHAPES", (SMALL,))
    monkeypatch.setattr(measure, "NETWORKS", ())
    monkeypatch.setattr(contenders, "compiler_found", lambda: False)
    command = ["bench", "--rounds", "1", "--threads", "1", "--json", "--record", "--quiet"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {r["work"] for r in printed["results"]} == {"forward", "forward + backward"}
    found = Report.from_json(printed)
    assert found.vector_bits == machine.VECTOR_BITS
    assert table.rows(found)
    kept = tmp_path / "data/measured/bench"
    assert [path.name for path in kept.iterdir()] == [found.file_name]
    assert json.loads((kept / found.file_name).read_text()) == printed


def test_a_benchmark_that_holds_onednn_back_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2", ONEDNN: "AVX2", EMULATED: "512 bits"}
    held = replace(report(), versions=versions, vector_bits=256)
    results = (*held.results, *(replace(r, work="forward + backward") for r in held.results))
    kept = replace(held, results=results)
    monkeypatch.setattr(readme, "tracked_reports", lambda: [kept])
    said = ", 256-bit vectors emulated by a processor with 512 bits, oneDNN held to AVX2, torch"
    assert said in readme.speed_block()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr(machine, "longest_bits", lambda: 512)
    for bits, wanted in ((256, {ONEDNN: "AVX2", EMULATED: "512 bits"}), (512, {ONEDNN: "AVX2"})):
        monkeypatch.setattr(machine, "VECTOR_BITS", bits)
        assert measure._held() == wanted


def test_each_processor_and_length_of_vectors_has_a_file(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="holds no benchmark"):
        readme.tracked_reports()
    one = replace(report(), device="Some(R) CPU @ 2.5GHz (2 cores)", vector_bits=256)
    assert one.file_name == "some-cpu-2-5ghz-2-cores-256-bit.json"
    step = {"work": "forward + backward"}
    results = (*one.results, *(replace(result, **step) for result in one.results))
    for width in (256, 512):
        kept = replace(one, results=results, vector_bits=width)
        write_text(bench_dir() / kept.file_name, json.dumps(kept.to_json()))
    assert [found.vector_bits for found in readme.tracked_reports()] == [256, 512]
    text = readme.speed_block()
    assert "oneDNN held" not in text
    assert text.count("| a |") == 2
    assert text.index("256-bit vectors") < text.index("512-bit vectors")
    (bench_dir() / "a.json").write_text("{}")
    with pytest.raises(UsageError, match=r"a\.json is no benchmark"):
        readme.tracked_reports()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--threads", "0"], "--threads must be at least 1; got 0"),
        (["zz"], "CASE must be one of a, b, "),
        (["a", "zz", "yy"], "resnet20, mobilenet_v2_w035; got zz, yy"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--quiet", *arguments]) != 0
    assert complaint in capsys.readouterr().err


def test_without_a_compiler_the_formula_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders.shutil, "which", lambda name: None)
    assert not contenders.compiler_found()
    assert contenders._compiled_formula(*SMALL.tensors()) == {}
