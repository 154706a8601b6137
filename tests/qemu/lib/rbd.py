# SPDX-License-Identifier: GPL-2.0-or-later
"""The clusters of one run, and what tests of rbd do with images: make them with librbd's tools, read them through either driver."""

import json
import os
import random
import threading

from .ceph import Ceph
from .harness import Skip, check
from .nbd import Client
from .qmp import Daemon

# What images of the tests have, unless a test says otherwise; None: what `rbd create` gives by default. QBR_RBD_FEATURES=layering for
# images without a lock.
FEATURES = tuple(os.environ.get("QBR_RBD_FEATURES", "").replace(",", " ").split()) or None
BITS = {"layering": 1, "striping": 2, "exclusive-lock": 4, "object-map": 8, "fast-diff": 16, "deep-flatten": 32, "journaling": 64}
POOL, DATA_POOL, ERASURE_POOL, SPACE = "rbd", "data", "erasure", "space"
MIB = 1 << 20


class Clusters:
    """Each cluster is started when a test first wants it: a plain one, fast; and a sturdy one, whose daemons can be killed."""

    def __init__(self, name, suite):
        self._name, self._suite, self._lock, self._running = name, suite, threading.Lock(), {}

    def _get(self, kind, **how):
        with self._lock:
            if kind not in self._running:
                ceph = Ceph(f"{self._name}-{kind}", self._suite, **how)
                # What an earlier run left behind may have been killed in the middle of something.
                ceph.destroy()
                # Also one whose start fails is to be destroyed.
                self._running[kind] = ceph
                ceph.start()
                if FEATURES is not None:
                    path = os.path.join(os.path.dirname(ceph.env["CEPH_CONF"]), "clients.conf")
                    ceph.conf = ceph.with_settings(path, rbd_default_features=sum(BITS[name] for name in FEATURES))
                ceph.pool(POOL)
                ceph.namespace(POOL, SPACE)
                if kind == "sturdy":
                    # How long a client that has died still has its locks.
                    ceph.cli("config", "set", "osd", "osd_client_watch_timeout", "12")
                    ceph.pool(ERASURE_POOL, erasure=True)
                else:
                    ceph.pool(DATA_POOL)
            return self._running[kind]

    def plain(self):
        return self._get("plain")

    def sturdy(self):
        return self._get("sturdy", osds=3, store="bluestore", mgr=True)

    def destroy(self):
        for ceph in self._running.values():
            ceph.destroy()


def plain(t):
    return t.clusters.plain()


def c_cell(t):
    """The programs with the C driver, to compare with."""
    if t.cell.suite is not None:
        return t.stock
    missing = t.c_drivers.missing(("rbd",))
    if missing:
        raise Skip(f"no C driver to compare with: {missing}")
    return t.c_drivers


def features(wanted=FEATURES):
    """Options of rbd create for these features."""
    return [] if wanted is None else [word for name in wanted for word in ("--image-feature", name)]


def spec(t, name="a", pool=POOL):
    """How Ceph's tools name an image of the test; `pool` may have a namespace behind a slash."""
    return f"{pool}/{t.image(name)}"


def make(t, name="a", size=16 * MIB, *options, pool=POOL, ceph=None, wanted=FEATURES):
    """Make an image with librbd's tool."""
    format1 = "--image-format" in options and "1" in options
    (ceph or plain(t)).rbd("create", "--no-progress", *([] if format1 else features(wanted)), "-s", f"{size}B", *options, spec(t, name, pool))
    return url(t, name, pool, ceph)


def url(t, name="a", pool=POOL, ceph=None, **options):
    return (ceph or plain(t)).url(spec(t, name, pool), **options)


def node(t, name="a", node="r", pool=POOL, ceph=None, **more):
    """Arguments of blockdev-add."""
    pool, _, space = pool.partition("/")
    return (ceph or plain(t)).node(t.image(name), pool, node, **({"namespace": space} if space else {}), **more)


def exported(t, name="a", pool=POOL, ceph=None):
    """The bytes as librbd reads them."""
    return (ceph or plain(t)).export(spec(t, name, pool))


def info(t, name="a", pool=POOL, ceph=None):
    return (ceph or plain(t)).rbd_json("info", spec(t, name, pool))


def snapshots(t, name="a", pool=POOL, ceph=None):
    """The names of an image's snapshots as librbd lists them."""
    return [snap["name"] for snap in (ceph or plain(t)).rbd_json("snap", "ls", spec(t, name, pool))]


def objects(t, name="a", pool=POOL, ceph=None, data=None):
    """How many objects hold data of an image."""
    prefix = info(t, name, pool, ceph)["block_name_prefix"]
    return sum(line.startswith(prefix) for line in listing(data or pool, ceph or plain(t)))


def listing(pool, ceph):
    """The names of all objects in a pool, or in a namespace of one."""
    pool, _, space = pool.partition("/")
    return ceph.rados("-p", pool, *(["-N", space] if space else []), "ls").splitlines()


def some_bytes(size, seed=1):
    return random.Random(seed).randbytes(size)


def fill(t, data, *args, where="a", pool=POOL, ceph=None, cell=None):
    """Write these bytes from the beginning of an image on, through a driver."""
    path = t.path("fill")
    with open(path, "wb") as file:
        file.write(data)
    done = (cell or t.cell).run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", *args, path, url(t, where, pool, ceph), cwd=t.work)
    check(done.status == 0, done)


def read(t, image, cell=None):
    """The bytes of an image (its URL) as a driver reads them, with its block status."""
    path = t.path("read")
    if os.path.exists(path):
        os.unlink(path)
    done = (cell or t.cell).run("qemu-img", "convert", "-f", "raw", "-O", "raw", image, path, cwd=t.work)
    check(done.status == 0, done)
    with open(path, "rb") as file:
        return file.read()


def both(t, *args, program="qemu-img", **more):
    """The same command with our driver and with the C driver."""
    ours = t.cell.run(program, *args, cwd=t.work, **more)
    return ours, c_cell(t).run(program, *args, cwd=t.work, **more)


def both_fail(t, *args, names=(), reason=None, **more):
    """Refused by both, in an orderly way and, if there is one, for the same reason at the end of the message; ours says `names`."""
    ours, c = both(t, *args, **more)
    check(ours.status == 1 and c.status == 1, f"ours:\n{ours}\nC driver:\n{c}")
    for word in names:
        check(word in ours.err, f"{word!r} is not in our message: {ours}")
    if reason:
        check(ours.err.rstrip().endswith(reason) and reason in c.err, f"{reason!r} is expected\nours:\n{ours}\nC driver:\n{c}")
    return ours, c


def file_name(found):
    """What `qemu-img info --output=json` says the image is called: the options of the rbd node, or a plain name."""
    text = json.loads(found)["filename"]
    if not text.startswith("json:"):
        return text
    options = json.loads(text[5:])
    return options.get("file", options) if options["driver"] == "raw" else options


def image_json(options):
    return "json:" + json.dumps(options)


def io(t, image, *commands, options=("-f", "raw"), cell=None):
    """qemu-io with some commands, all of which must succeed."""
    done = (cell or t.cell).run("qemu-io", *options, *(word for command in commands for word in ("-c", command)), image, cwd=t.work)
    check(done.status == 0 and "failed" not in done.out and "verification" not in done.out, done)
    return done.out


def create(daemon, location, size, **more):
    """Run blockdev-create; the error text, or None."""
    return daemon.job("blockdev-create", {"options": {"driver": "rbd", "location": location, "size": size, **more}})


class Served:
    """An image that a qemu-storage-daemon exports; use as a context, which gives the client."""

    def __init__(self, t, *args, cell=None, writable=True, export=None, daemon_args=(), **options):
        cell = cell or t.cell
        # That NBD server aborts when a client of an export in an iothread leaves, whatever the driver is.
        self.aborts = export and cell.version < (8, 0)
        self.daemon = Daemon(cell, t.work, *daemon_args)
        try:
            self.daemon.add(node(t, *args, **({} if writable else {"read-only": True}), **{"discard": "unmap", **options}))
            if export:
                self.daemon.raw("nbd-server-start", {"addr": {"type": "unix", "data": {"path": f"nbd{self.daemon.tag}"}}})
                self.daemon.raw("block-export-add", {"type": "nbd", "id": "e", "node-name": "r", "name": "r", "writable": writable, **export})
                socket = f"nbd{self.daemon.tag}"
            else:
                socket = self.daemon.export("r", writable=writable)
            self.client = Client(t.work, socket, "r")
        except BaseException:
            self.daemon.kill()
            raise

    def __enter__(self):
        self.client.daemon = self.daemon
        return self.client

    def __exit__(self, kind, *_):
        if self.aborts or kind is not None:
            self.daemon.kill()
        self.client.__exit__()
        if not self.aborts and kind is None:
            status = self.daemon.quit()
            check(status == 0, f"exit status {status}: {self.daemon.output()}")


