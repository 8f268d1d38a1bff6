"""YAML as plain data, without duplicate keys."""

from __future__ import annotations

from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str) -> Any:
    """Read YAML as plain data, and reject duplicate keys.

    YAML forbids them, but PyYAML silently keeps the last one.

    Raises:
        yaml.YAMLError: If the text is not valid YAML. For a duplicate key, the error marks its second occurrence.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked on the text as written: a key may legally occur again through a merge (<<) or an alias.
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
