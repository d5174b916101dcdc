"""The process that describes videos, started in a tenth of a second: without torch, for stand-ins."""

import sys
from types import ModuleType

LIGHT_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from support.light import lighten; lighten(); "
    "from {module} import serve; serve({ours}, {parent})"
)


def lighten():
    """Lets `processing.corpus.child` be imported without what it only touches."""
    from importlib.util import find_spec

    (place,) = find_spec("processing").submodule_search_locations  # looks, and does not import it
    for name, path in {"processing": place, "processing.corpus": f"{place}/corpus"}.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [path]
    sys.modules["torch"] = ModuleType("torch")
    sys.modules["torch"].set_num_threads = lambda number: None
