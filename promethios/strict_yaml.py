"""YAML and JSON in which a key stands at most once; the plain readers keep the last one, silently."""

from __future__ import annotations

import json
from typing import Any

import yaml


class UniqueKeyLoader(yaml.SafeLoader):
    """A SafeLoader that raises MarkedYAMLError for a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose scalar keys are all different."""
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"key {key_node.value!r} stands there twice; remove one",
                        problem_mark=key_node.start_mark,
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """Return the plain data of a YAML text. Raises yaml.YAMLError, and ValueError for what only looks like a date."""
    return yaml.load(text, UniqueKeyLoader)


def load_json(text: str) -> Any:
    """Return the plain data of a JSON text. Raises ValueError, also for a key given twice."""
    return json.loads(text, object_pairs_hook=_unique_object)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} stands there twice; remove one")
    return content
