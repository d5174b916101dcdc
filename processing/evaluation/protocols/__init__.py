"""Published protocols: from public annotation files to a paper's table, beside the paper's own numbers."""

from .coin import read_coin
from .crosstask import read_crosstask
from .localisation import localise_steps
from .published import CAVEATS, PUBLISHED, Published
from .sources import Source, gather_source, write_missing
from .table import protocol_table
from .youcook2 import label_captions, read_object_classes, read_reviewed, read_youcook2

__all__ = [
    "CAVEATS",
    "PUBLISHED",
    "Published",
    "Source",
    "gather_source",
    "label_captions",
    "localise_steps",
    "protocol_table",
    "read_coin",
    "read_crosstask",
    "read_object_classes",
    "read_reviewed",
    "read_youcook2",
    "write_missing",
]
