"""The picture of likeness has one line per network, named, with the values that it was given."""

from saa_lite.viz.starts import likeness_figure


def test_one_named_line_per_network() -> None:
    curves = {"conv": [0.9, 0.5, 0.3], "adder": [0.8, 0.1, -0.1], "adder-calm": [0.9, 0.8, 0.7]}
    figure = likeness_figure(curves)
    (axis,) = figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert lines["Mult"] == curves["conv"]
    assert lines["Add, calm start"] == curves["adder-calm"]
    assert [float(x) for x in axis.lines[0].get_xdata()] == [1.0, 2.0, 3.0]
    assert "correlation" in axis.get_ylabel()
