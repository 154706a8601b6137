# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Nodes as options of the form name.name=value."""


def flat(node):
    """A node, described as for blockdev-add, in one line."""
    return ",".join(_options(node, ""))


def _options(node, prefix):
    pairs = enumerate(node) if isinstance(node, list) else node.items()
    for key, value in pairs:
        if isinstance(value, (dict, list)):
            yield from _options(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={('off', 'on')[value] if isinstance(value, bool) else value}"
