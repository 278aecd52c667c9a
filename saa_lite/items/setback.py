"""How far a training fell back: the measure of stability that the AddConv discussion asks for."""

from saa_lite.records import Record


def setback(record: Record) -> float:
    """Largest fall of test accuracy from one epoch to a later one, in points (ours).

    A network trained alone is tested with the statistics of batch norm that it kept, so a fall may
    be of the statistics alone; and a network that never rises cannot fall.

    Args:
        record: of metric "accuracy", with a log per epoch.
    """
    highest, largest = 0.0, 0.0
    for row in record.log or []:
        value = 100 * float(row["test_accuracy"] or 0)
        highest = max(highest, value)
        largest = max(largest, highest - value)
    return largest
