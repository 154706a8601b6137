# SPDX-License-Identifier: GPL-2.0-or-later
"""The private Ceph clusters that the tests use: pools, images and daemons, through scripts/ceph.sh."""

import json
import os
import re
import subprocess

from .cell import TOP

SCRIPT = os.path.join(TOP, "scripts", "ceph.sh")
IN_ROOT = os.path.join(TOP, "scripts", "in-root")
# For the Python of the tree, which has the library.
PYTHON = """
import json, os, rados, sys
cluster = rados.Rados(conffile=os.environ["CEPH_CONF"])
cluster.connect()
pool = cluster.open_ioctx(sys.argv[1])
"""
SIZES = """
print(json.dumps({o.key: pool.stat(o.key)[0] for o in pool.list_objects() if o.key.startswith(sys.argv[2])}))
cluster.shutdown()
"""
OMAP = """
with rados.ReadOpCtx() as op:
    found, _ = pool.get_omap_vals_by_keys(op, (sys.argv[3],))
    pool.operate_read_op(op, sys.argv[2])
    print(dict(found)[sys.argv[3]].hex())
cluster.shutdown()
"""
SET_OMAP = """
with rados.WriteOpCtx() as op:
    pool.set_omap(op, (sys.argv[3],), (bytes.fromhex(sys.argv[4]),))
    pool.operate_write_op(op, sys.argv[2])
cluster.shutdown()
"""


class Ceph:
    """One instance of ceph.sh. Failure tests want osds=3 and store="bluestore"; quotas want mgr=True."""

    def __init__(self, name, suite, osds=1, store="memstore", mgr=False):
        self.name, self.suite, self.osds, self.store, self.mgr = name, suite, osds, store, mgr
        self._env = {**os.environ, "QBR_CEPH": name, "QBR_CEPH_SUITE": suite}

    def _call(self, *args, stdin=None, timeout=180):
        """What it prints, as bytes."""
        source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run([SCRIPT, *map(str, args)], env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=timeout, check=False, start_new_session=True, **source)
        if done.returncode:
            raise RuntimeError(f"ceph.sh {' '.join(map(str, args))}: {done.stderr.decode(errors='replace')[-1500:]}")
        return done.stdout

    def start(self):
        self._call("start", "--osds", self.osds, "--store", self.store, *(["--mgr"] if self.mgr else []), timeout=900)
        lines = self._call("env").decode().splitlines()
        # What a program needs in its environment to be a client.
        self.env = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        self.conf = self.env["CEPH_CONF"]
        self.monitors = self._mon_hosts()

    def _setting(self, name):
        """A setting of the configuration file."""
        with open(self.conf, encoding="utf-8") as file:
            return next(line.split("=", 1)[1].strip() for line in file if line.split("=")[0].strip() == name)

    def _mon_hosts(self):
        """(host, port) of the monitor, for version 2 of the protocol and for version 1."""
        return [tuple(address.rsplit(":", 1)) for address in re.findall(r"v[12]:([0-9.]+:[0-9]+)", self._setting("mon host"))]

    def keyring(self):
        return f"{os.path.dirname(self.env['CEPH_CONF'])}/keyring"

    def key(self, user):
        """The key of a user, in base64."""
        return self.cli("auth", "get-key", f"client.{user}").strip()

    def with_settings(self, path, **settings):
        """Write a configuration file in which clients have these settings, too; its path."""
        names = {name.replace("_", " "): value for name, value in settings.items()}
        with open(self.conf, encoding="utf-8") as file:
            text = "".join(line for line in file if line.split("=")[0].strip() not in names)
        lines = "".join(f"{name} = {value}\n" for name, value in names.items())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("[client]\n", "[client]\n" + lines, 1))
        return path

    def stop(self):
        self._call("stop")

    def destroy(self):
        self._call("destroy")

    def pool(self, name, erasure=False, size=None):
        self._call("pool", name, *(["--erasure"] if erasure else []), *(["--size", size] if size else []))

    def namespace(self, pool, name):
        self._call("namespace", pool, name)

    def cli(self, *args):
        return self._call("cli", *args).decode()

    def rbd(self, *args, stdin=None):
        """Files are in the checkout or the build folder, or "-"."""
        return self._call("rbd", *args, stdin=stdin).decode()

    def rbd_json(self, *args):
        return json.loads(self._call("rbd", "--format", "json", *args))

    def rados(self, *args, stdin=None):
        return self._call("rados", *args, stdin=stdin).decode()

    def omap(self, pool, name, key):
        """A value of an object's map, in hexadecimal."""
        return self._python(OMAP, pool, name, key)

    def set_omap(self, pool, name, key, value):
        self._python(SET_OMAP, pool, name, key, value.hex())

    def object_sizes(self, pool, prefix):
        """The names of a pool's objects that begin with `prefix`, and their sizes."""
        return json.loads(self._python(SIZES, pool, prefix))

    def _python(self, source, *args):
        """Run a script in the Python of the tree; what it prints."""
        argv = [IN_ROOT, self.suite, f"CEPH_CONF={self.env['CEPH_CONF']}", "python3", "-c", PYTHON + source, *args]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=180, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace")[-1500:])
        return done.stdout.decode()

    def export(self, image):
        """The bytes of an image as librbd reads them."""
        return self._call("rbd", "export", "--no-progress", image, "-")

    def load(self, image, data, *options):
        """Make an image with these bytes through librbd."""
        self._call("rbd", "import", "--no-progress", *options, "-", image, stdin=data)

    def pids(self):
        return [int(pid) for pid in self._call("pids").split()]

    def osd_pid(self, number):
        return int(self._call("osd-pid", number))

    def kill_osd(self, number):
        self._call("kill-osd", number)

    def start_osd(self, number):
        self._call("start-osd", number)

    def stop_osds(self):
        self._call("stop-osds")

    def cont_osds(self):
        self._call("cont-osds")

    def stop_mon(self):
        self._call("stop-mon")

    def cont_mon(self):
        self._call("cont-mon")

    def kill_mon(self):
        self._call("kill-mon")

    def start_mon(self):
        self._call("start-mon")

    def wait_clean(self):
        self._call("wait-clean")

    def url(self, image, **options):
        """IMAGE is POOL/[NAMESPACE/]IMAGE[@SNAPSHOT]; options are those of Ceph, such as id."""
        words = [f"rbd:{image}", *(f"{key}={value}" for key, value in options.items()), f"conf={self.conf}"]
        return ":".join(words)

    def node(self, image, pool="rbd", name="r", **more):
        """Arguments of blockdev-add."""
        return {"driver": "rbd", "node-name": name, "pool": pool, "image": image, "conf": self.conf, **more}
