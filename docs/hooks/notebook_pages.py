"""A notebook as a page: its cells, and the outputs that it was saved with."""

import base64
import json
from pathlib import Path


def notebook_page(notebook: Path) -> tuple[str, dict[str, bytes]]:
    """Markdown that shows pictures by their names, and the pictures.

    Args:
        notebook (`Path`):
            As Jupyter saves it, executed.

    Returns:
        `tuple[str, dict[str, bytes]]`: The page, and by name the PNGs.
    """
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        printed = "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                name = f"step_{number:02}.png"
                pictures[name] = base64.b64decode(output["data"]["image/png"])
                parts.append(f"![{alternative(source)}]({notebook.stem}_pictures/{name})")
    return "\n\n".join(parts) + "\n", pictures


def alternative(source: str) -> str:
    """What a screen reader says of a picture: the name under which its cell saves it."""
    saved = [part.split('"')[0] for part in source.split('PICTURES / "')[1:]]
    return f"Picture: {saved[-1].removesuffix('.png').replace('_', ' ')}" if saved else "Picture"
