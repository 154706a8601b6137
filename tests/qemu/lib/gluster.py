# SPDX-License-Identifier: GPL-2.0-or-later
"""The private Gluster that the tests use: volumes, bricks and daemons, through scripts/gluster.sh."""

import os
import subprocess
import threading

from .cell import TOP

SCRIPT = os.path.join(TOP, "scripts", "gluster.sh")


class Gluster:
    """One instance of gluster.sh."""

    def __init__(self, name, suite):
        self.name, self.suite = name, suite
        self._env = {**os.environ, "QBR_GLUSTER": name, "QBR_GLUSTER_SUITE": suite}
        self._lock = threading.Lock()
        self._bricks = {}

    def _call(self, *args, timeout=180):
        done = subprocess.run([SCRIPT, *args], env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout, check=False, start_new_session=True)
        if done.returncode:
            raise RuntimeError(f"gluster.sh {' '.join(args)}: {done.stderr.decode(errors='replace')[-1500:]}")
        return done.stdout.decode()

    def start(self):
        self._call("start", timeout=900)
        lines = self._call("env", "plain").splitlines()
        values = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        self.host, self.port = values["GLUSTER_HOST"], int(values["GLUSTER_PORT"])
        self.socket = values["GLUSTER_SOCKET"]

    def stop(self):
        self._call("stop")

    def destroy(self):
        self._call("destroy")

    def volume(self, name, kind):
        with self._lock:
            self._call("volume", name, kind)

    def volume_set(self, name, key, value):
        with self._lock:
            self._call("volume-set", name, key, value)

    def cli(self, *args):
        return self._call("cli", *args)

    def bricks(self, volume):
        if volume not in self._bricks:
            self._bricks[volume] = self._call("bricks", volume).split()
        return self._bricks[volume]

    def brick_pids(self, volume):
        return [int(pid) for pid in self._call("brick-pids", volume).split() if pid != "-"]

    def kill_brick(self, volume, index):
        self._call("kill-brick", volume, str(index))

    def restart_bricks(self, volume):
        self._call("restart-bricks", volume)

    def stop_glusterd(self):
        self._call("stop-glusterd")

    def start_glusterd(self):
        self._call("start-glusterd")

    def url(self, volume, path):
        return f"gluster://{self.host}:{self.port}/{volume}/{path}"

    def server(self):
        return {"type": "inet", "host": self.host, "port": str(self.port)}

    def node(self, volume, path, name="g", **more):
        """Arguments of blockdev-add."""
        return {"driver": "gluster", "node-name": name, "volume": volume, "path": path, "server": [self.server()], **more}

    def on_brick(self, volume, path, index=0):
        """The file on a brick, where its size and existence can be seen past any client."""
        return os.path.join(self.bricks(volume)[index], path)
