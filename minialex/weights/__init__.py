"""Parameters in and out: whole arrays under their names, in files of our own and in those of others."""

from minialex.weights.files import copy_whole, load, load_with_metadata, save, write_whole, writing_whole
from minialex.weights.foreign import (
    load_bvlc,
    load_pretrained,
    load_torchvision,
    read_bvlc,
    read_pretrained,
    read_torchvision,
)
from minialex.weights.grouped import export_grouped, gather, import_grouped, put, scatter
from minialex.weights.record import as_metadata, check_record, read_record, record_in, record_of

__all__ = [
    "as_metadata", "check_record", "copy_whole", "export_grouped", "gather", "import_grouped", "load", "load_bvlc",
    "load_pretrained", "load_torchvision", "load_with_metadata", "put", "read_bvlc", "read_pretrained", "read_record",
    "read_torchvision", "record_in", "record_of", "save", "scatter", "write_whole", "writing_whole",
]  # fmt: skip
