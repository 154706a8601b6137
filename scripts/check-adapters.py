#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check that the adapters are small, alike, and readable by QEMU's own tool.

usage: check-adapters.py [QEMU-SOURCE...]     (default: what is in build/src/)

Every adapter/DRIVER.c has the same sections in the same order, no logic, and tables whose names QEMU's
scripts/modules/module_block.py finds as expected. Prints one line per check: ok, not ok, or skip.
"""

import glob
import os
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ADAPTER = os.path.join(TOP, "adapter")
SRC = os.environ.get("QBR_SRC") or os.path.join(os.environ.get("QBR_BUILD") or os.path.join(TOP, "build"), "src")

MAX_LINES = 150

# What module_block.py has to find: file -> (format name, protocol name) of its tables, in their order.
EXPECTED = {
    "gluster": [("gluster", "gluster"), ("gluster", "gluster+tcp"), ("gluster", "gluster+unix")],
    "quorum": [("quorum", None)],
    "rbd": [("rbd", "rbd")],
    "replication": [("replication", None)],
}

# The sections of an adapter, in their order: name, and what one of them begins with. %d is the driver, %D in capitals.
SECTIONS = [
    ("licence", r"^/\* SPDX-License-Identifier: GPL-2\.0-or-later \*/$"),
    ("copyright", r"^/\* Copyright \(c\) "),
    ("purpose", r"^/\* QEMU's "),
    ("qemu/osdep.h", r'^#include "qemu/osdep\.h"$'),
    ("QEMU's headers", r'^#include "(?!qemu/osdep\.h|qbr-|qemu-block-rs)[^"]+"$'),
    ("qbr-compat.h", r'^#include "qbr-compat\.h"$'),
    ("qbr-host.h", r'^#include "qbr-host\.h"$'),
    ("qemu-block-rs.h", r'^#include "qemu-block-rs\.h"$'),
    ("state", r"^typedef struct Qbr\w+ \{$"),
    ("wrappers", r"^QBR_DEFINE_\w+\(%d\)$"),
    ("option lists", r"^static (?:QemuOptsList|const char \*const) \*?qbr_%d_\w+"),
    ("common members", r"^#define QBR_%D_COMMON\b"),
    ("tables", r"^static BlockDriver qbr_%d\w* = \{$"),
    ("init", r"^static void qbr_%d_init\(void\)$"),
    ("block_init", r"^block_init\(qbr_%d_init\);$"),
]
# Callbacks that are the block layer's own, or the same for every filter.
OWN_CALLBACKS = {"bdrv_has_zero_init_1", "qbr_filter_is_inserted"}
OPTIONAL = {"QEMU's headers", "wrappers", "option lists", "common members"}

failed = 0


def report(name, problems):
    global failed
    print(("not ok - " if problems else "ok - ") + name)
    for problem in problems:
        print(f"# {problem}")
    failed += bool(problems)


def code_of(text):
    """The text without comments, with its line structure."""
    return re.sub(r"/\*.*?\*/", lambda match: "\n" * match.group().count("\n"), text, flags=re.DOTALL)


def check_sections(driver, lines):
    problems = []
    last = 0
    for name, pattern in SECTIONS:
        pattern = pattern.replace("%d", driver).replace("%D", driver.upper())
        found = [number for number, line in enumerate(lines, 1) if re.search(pattern, line)]
        if not found:
            if name not in OPTIONAL:
                problems.append(f"{name}: missing")
            continue
        if found[0] < last:
            problems.append(f"line {found[0]}: {name} comes too early or too late")
        last = found[-1]
    report(f"adapter {driver}: sections in order", problems)


def check_size(driver, text):
    count = sum(1 for line in code_of(text).splitlines() if line.strip())
    report(f"adapter {driver}: {count} lines of code, at most {MAX_LINES}",
           [f"{count} lines; move what is long to Rust or to qbr-host.c"] if count > MAX_LINES else [])


def check_logic(driver, text):
    """The only decision an adapter takes is whether to register."""
    body = code_of(text)
    problems = []
    if len(re.findall(r"\bif \(", body)) != 1 or f'if (qbr_host_accepts_archive("{driver}"))' not in body:
        problems.append("the one condition allowed is qbr_host_accepts_archive in init")
    for word in re.findall(r"\b(?:for|while|switch|goto|return|else)\b|\?[^\n\"]*:", body):
        problems.append(f"logic in an adapter: {word}")
    state = re.search(r"typedef struct (\w+) \{\n(.*?)\n\}", body, re.DOTALL)
    if not state or state.group(2).strip() != "void *rs;":
        problems.append("the state struct has one member, void *rs")
    report(f"adapter {driver}: names and options only", problems)


def members(driver, text):
    """The members that the common macro sets, or the one table of a driver that has no such macro, with their values."""
    macro = re.search(rf"#define QBR_{driver.upper()}_COMMON((?:[^\n]*\\\n)*[^\n]*)\n", text)
    table = re.search(rf"static BlockDriver qbr_{driver} = \{{(.*?)\n\}};", text, re.DOTALL)
    found = macro or table
    return re.findall(r"\.(\w+) = ([^,\\\n]+)", found.group(1)) if found else []


def check_members(driver, text):
    problems = []
    for name, value in members(driver, text):
        good = value.startswith((f"qbr_{driver}_", f"&qbr_{driver}_")) or re.fullmatch(rf"QBR_\w+\({driver}\)", value)
        if re.match(r"bdrv_|QBR_BDRV_", name) and not good and value not in OWN_CALLBACKS:
            problems.append(f".{name} = {value}: a callback points straight at an export")
    if not members(driver, text):
        problems.append("no members found")
    report(f"adapter {driver}: callbacks are exports", problems)


def check_alike(texts):
    """Members that two adapters share stand in the same order in both."""
    problems = []
    orders = {driver: [name for name, _ in members(driver, text)] for driver, text in texts.items()}
    drivers = sorted(orders)
    for i, first in enumerate(drivers):
        for second in drivers[i + 1:]:
            a = [name for name in orders[first] if name in orders[second]]
            b = [name for name in orders[second] if name in orders[first]]
            if a != b:
                wrong = next(x for x, y in zip(a, b) if x != y)
                problems.append(f"{first}.c and {second}.c order their members differently, from .{wrong} on")
    report(f"adapters alike: {', '.join(drivers)}", problems)


def module_block(source, files):
    """What QEMU's tool finds: (library, format name, protocol name) of every table."""
    tool = os.path.join(source, "scripts/modules/module_block.py")
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "module_block.h")
        subprocess.run([sys.executable, tool, output, *files], check=True)
        with open(output, encoding="utf-8") as stream:
            text = stream.read()
    rows = []
    for entry in re.findall(r"\n    \{\n(.*?)\n    \},", text, re.DOTALL):
        fields = dict(re.findall(r'\.(\w+) = "([^"]*)"', entry))
        rows.append((fields.get("library_name"), fields.get("format_name"), fields.get("protocol_name")))
    return rows


def check_module_block(source, texts):
    name = f"module_block.py of {os.path.basename(source)} finds the tables"
    files = [os.path.join(ADAPTER, driver + ".c") for driver in sorted(texts)]
    want = [(driver, *row) for driver in sorted(texts) for row in EXPECTED.get(driver, [])]
    try:
        have = module_block(source, files)
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        report(name, [str(error)])
        return
    report(name, [] if have == want else [f"expected {want}", f"found    {have}"])


def main():
    texts = {}
    for path in sorted(glob.glob(os.path.join(ADAPTER, "*.c"))):
        driver = os.path.splitext(os.path.basename(path))[0]
        if not driver.startswith("qbr-"):
            with open(path, encoding="utf-8") as stream:
                texts[driver] = stream.read()
    missing = sorted(set(texts) ^ set(EXPECTED))
    report("adapters: exactly those that are expected", [f"{name}: not in both" for name in missing])
    for driver, text in texts.items():
        check_sections(driver, text.splitlines())
        check_size(driver, text)
        check_logic(driver, text)
        check_members(driver, text)
    check_alike(texts)

    sources = sys.argv[1:] or [path for path in sorted(glob.glob(os.path.join(SRC, "qemu-*")))
                               if os.path.exists(os.path.join(path, "scripts/modules/module_block.py"))]
    if not sources:
        print("skip - module_block.py finds the tables # no QEMU source in build/src (scripts/qemu-source.sh 10.0)")
    for source in sources:
        check_module_block(os.path.normpath(source), texts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
