"""Records: what a run measured, and everything needed to judge or repeat it.

A record is one number. Runs append records to the ignored ``data/runs/<source>/<item>/``;
those that share a campaign leave one file per unit in ``<profile>.d/`` there. :func:`promote`
merges both into the tracked ``data/measured/<source>/<item>.jsonl``, the only file that README,
scorecard and status quote. One record per line, keys sorted: a diff shows one line per measurement.
There, what many records have in common is written once, see :mod:`saa_lite.records.compact`.
"""

from saa_lite.provenance import provenance
from saa_lite.records.record import PROFILES, Record, config_hash, pack_hits, unpack_hits
from saa_lite.records.store import (
    append_record,
    append_unit_record,
    measured_path,
    measured_records,
    merge,
    profile_path,
    promote,
    read_records,
    record_table,
    run_folder,
    run_records,
    unit_folder,
    unit_name,
    unit_path,
    write_measured,
)

__all__ = [
    "PROFILES",
    "Record",
    "append_record",
    "append_unit_record",
    "config_hash",
    "measured_path",
    "measured_records",
    "merge",
    "pack_hits",
    "profile_path",
    "promote",
    "provenance",
    "read_records",
    "record_table",
    "run_folder",
    "run_records",
    "unit_folder",
    "unit_name",
    "unit_path",
    "unpack_hits",
    "write_measured",
]
