"""YAML as plain data, without a key given twice."""

from __future__ import annotations

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str) -> Any:
    """Read YAML as plain data, and refuse a mapping that gives a key twice.

    YAML forbids that; PyYAML would take the last one and say nothing.

    Raises:
        yaml.YAMLError: If the text is not valid YAML. The mark of the error is the place of the second key.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As the text has it: a key may well come a second time from a merge (<<) or an alias.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value!r} is given twice: remove one"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value))
        return node
