"""Lets mkdocstrings read docstrings as transformers writes them: types in backticks, names in brackets as links."""

import re

import griffe

# An argument's line: its name, and in brackets a type in backticks and whether it may be left out.
ARGUMENT = re.compile(r"^(?P<head>\s+[\w, *]+ \()(?P<kind>.*`.*)\):$", re.MULTILINE)
REFERENCE = re.compile(r"\[`(~?)([\w.]+)`\](?![(\[])")


class TransformersDocstrings(griffe.Extension):
    """Rewrites the docstrings of a package before they are parsed."""

    def on_package(self, *, pkg, **kwargs) -> None:
        names = dict(self._public_names(pkg))
        for item in (pkg, *self._items(pkg)):
            if item.docstring is not None:
                item.docstring.value = rewrite(item.docstring.value, names)

    def _public_names(self, package):
        """By name the path of what packages offer, and of its members: what has a place on a page."""
        for name in package.exports or ():
            yield str(name), f"{package.path}.{name}"
            item = package.members[str(name)]
            target = item.final_target if item.is_alias else item
            for member in target.members if target.is_class else ():
                yield f"{name}.{member}", f"{package.path}.{name}.{member}"
        for member in package.members.values():
            if not member.is_alias and member.is_module and member.is_init_module:
                yield from self._public_names(member)

    def _items(self, item):
        """Everything that is written in a module or class, not what it only imports."""
        for member in item.members.values():
            if not member.is_alias:
                yield member
                yield from self._items(member)


def rewrite(text: str, names: dict[str, str]) -> str:
    """A docstring as griffe's Google style wants it.

    Args:
        text (`str`):
            As transformers writes it.
        names (`dict[str, str]`):
            By name the full path of what there is; other references become plain code.
    """

    def link(found: re.Match) -> str:
        short, name = found.groups()
        shown = name.rpartition(".")[2] if short else name
        return f"[`{shown}`][{names[name]}]" if name in names else f"`{shown}`"

    return REFERENCE.sub(link, ARGUMENT.sub(lambda found: found["head"] + plain_kind(found["kind"]) + "):", text))


def plain_kind(kind: str) -> str:
    """A type without marks, and without the default, which stands in the signature."""
    kind = re.sub(r"\[`~?([\w.]+)`\]", r"\1", kind).replace("`", "").replace("*", "")
    return re.sub(r",? defaults to .*", "", kind)
