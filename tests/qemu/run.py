#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""End-to-end tests of the drivers: real QEMU programs, a real Gluster and a real Ceph.

usage: run.py --cell NAME [--driver NAME] [--filter WORD]... [--core] [--jobs N] [--keep] [--list]

Prints `ok - NAME`, `not ok - NAME` (with the reason in lines that begin with `# `) or `skip - NAME # reason` for every
test; exit status 1 when one failed. Cells: debian12 and debian13 (the distribution's own programs with the drop-in module), qemu-VERSION
and qemu-VERSION-builtin (programs with our driver in them). Drivers: gluster, quorum, rbd, replication; default: all that the
cell can have.
"""

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from lib.cell import BUILD, CELLS, Cell, Tree, kill_all  # noqa: E402
from lib.gluster import Gluster  # noqa: E402
from lib.harness import TESTS, Context, Failure, Skip, remove_folders  # noqa: E402
from lib.model import Mismatch  # noqa: E402
from lib.rbd import Clusters  # noqa: E402

TOPICS = ("loading", "images", "options", "translators", "uri", "io", "nbd_model", "reopen", "interop", "close", "failures",
          "quorum_loading", "quorum_options", "quorum_children", "quorum_io", "quorum_resize", "quorum_discard",
          "quorum_migration", "quorum_backends", "quorum_guest", "quorum_memory", "quorum_table",
          "rbd_loading", "rbd_names", "rbd_options", "rbd_formats", "rbd_create", "rbd_io", "rbd_model", "rbd_resize", "rbd_snapshots",
          "rbd_outside", "rbd_lock", "rbd_migration", "rbd_threads", "rbd_maintenance", "rbd_refusals", "rbd_failures", "rbd_quota",
          "replication_stages", "replication_table", "replication_failover", "replication_documents")
DRIVERS = ("gluster", "quorum", "rbd", "replication")
VOLUMES = (("plain", "plain"), ("replica3", "replica3"), ("shard", "shard"))
PRINTING = threading.Lock()


def run_one(function, cell, gluster, clusters, number):
    work = os.path.join(BUILD, "tests", "qemu", cell.name, f"{number:03d}")
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    context = Context(cell, gluster, work, f"{cell.name}-{number}", clusters)
    begin, reason, skip = time.monotonic(), None, None
    try:
        function(context)
    except Skip as error:
        skip = str(error)
    except (Failure, Mismatch) as error:
        at = [frame for frame in traceback.extract_tb(error.__traceback__) if "/test_" in frame.filename][-1:]
        reason = "".join(f"{os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}\n" for frame in at) + str(error)
    except Exception:  # Anything else is a failure of the test, and the others still run.
        reason = traceback.format_exc()
    remove_folders(context.folders)
    seconds = time.monotonic() - begin
    name = f"{cell.name} {function.title}"
    with PRINTING:
        if skip is not None:
            print(f"skip - {name} # {skip}")
        elif reason is None:
            print(f"ok - {name} ({seconds:.1f} s)")
        else:
            print(f"not ok - {name} ({seconds:.1f} s)")
            for line in reason.rstrip().splitlines():
                print(f"# {line}")
        for line in context.notes:
            print(f"# {line}")
        sys.stdout.flush()
    if reason is None:
        shutil.rmtree(work, ignore_errors=True)
    return reason is None


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--cell", required=True, choices=CELLS)
    parser.add_argument("--driver", choices=DRIVERS)
    parser.add_argument("--filter", action="append", default=[])
    parser.add_argument("--core", action="store_true")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()

    for topic in TOPICS:
        if os.path.exists(os.path.join(HERE, f"test_{topic}.py")):
            importlib.import_module(f"test_{topic}")
    cell = Cell(args.cell)
    drivers = [name for name in DRIVERS if args.driver in (None, name) and (name not in ("quorum", "replication") or cell.has_quorum())]
    tests = [(number, function) for number, function in enumerate(TESTS)
             if function.driver in drivers and (not args.core or function.core) and all(word in function.title for word in args.filter)]
    if args.list:
        print("\n".join(function.title for _, function in tests))
        return 0
    missing = cell.missing(drivers if os.environ.get("QBR_QUORUM_OURS") != "c" else ())
    if missing:
        print(f"not ok - {cell.name} is ready\n# {missing}")
        return 1

    needs_gluster = any(function.needs_gluster for _, function in tests)
    gluster = Gluster(f"check-{cell.name.replace('.', '_')}", cell.gluster_suite())
    clusters = Clusters(f"check-{cell.name.replace('.', '_')}", cell.gluster_suite())
    status = 1

    def stop(number, _):
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(again, signal.SIG_IGN)
        kill_all()
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        if needs_gluster:
            gluster.start()
            for name, kind in VOLUMES:
                gluster.volume(name, kind)
        with ThreadPoolExecutor(args.jobs) as pool:
            together = [pool.submit(run_one, function, cell, gluster, clusters, number)
                        for number, function in tests if not function.alone]
            try:
                passed = [job.result() for job in together]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        passed += [run_one(function, cell, gluster, clusters, number) for number, function in tests if function.alone]
        status = 0 if all(passed) else 1
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"not ok - {cell.name} servers\n# {error}")
    finally:
        kill_all()
        Tree.close_all()
        remove_folders()
        if needs_gluster and not args.keep:
            gluster.destroy()
        if not args.keep:
            clusters.destroy()
    return status


if __name__ == "__main__":
    sys.exit(main())
