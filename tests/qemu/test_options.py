# SPDX-License-Identifier: GPL-2.0-or-later
"""Options: flat, JSON and QAPI; what is refused and what it is called; shared connections; auto-read-only; created nodes."""

import json
import os
import socket

from lib.harness import cases, check, read_only, test
from lib.qmp import Daemon, QmpError

INET = "server.0.type=inet,server.0.host={host},server.0.port={port}"
BASE = "driver=gluster,volume=plain,path={path},"


def filled(t, text):
    return text.format(host=t.gluster.host, port=t.gluster.port, socket=t.gluster.socket, path=t.image())


def accepted(t, options):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    found = json.loads(t.img("info", "--output=json", "--image-opts", filled(t, options)).out)
    check(found["virtual-size"] == 1 << 20, found)


def refused(t, options, *names):
    """Refused by us, naming the parameter, and by the C driver."""
    options = filled(t, options)
    t.fails("qemu-img", "info", "--image-opts", options, names=names)
    stock = t.stock.run("qemu-img", "info", "--image-opts", options, cwd=t.work)
    check(stock.status == 1, f"the C driver: {stock}")


def refused_by_us(t, options, *names):
    t.fails("qemu-img", "info", "--image-opts", filled(t, options), names=names)


cases("options", [
    ("inet server", accepted, BASE + INET),
    ("legacy type tcp", accepted, BASE + INET.replace("inet", "tcp")),
    ("unix server with path", accepted, BASE + "server.0.type=unix,server.0.path={socket}"),
    ("unix server with legacy socket", accepted, BASE + "server.0.type=unix,server.0.socket={socket}"),
    ("unknown members of a server are ignored", accepted, BASE + INET + ",server.0.keep-alive=on"),
    ("debug level", accepted, BASE + INET + ",debug=0"),
    ("debug level above 9 is clamped", accepted, BASE + INET.replace("{host}", "{host}") + ",debug=4000000000,logfile=/dev/null"),
    ("debug level below 0 is clamped", accepted, BASE + INET + ",debug=-7"),
    ("logfile", accepted, BASE + INET + ",logfile=/dev/null"),
    ("path with a leading slash", accepted, BASE.replace("{path}", "/{path}") + INET),
    ("filename in place of members", accepted, "driver=gluster,filename=gluster://{host}:{port}/plain/{path}"),
    ("no server is refused", refused, BASE.rstrip(","), "server"),
    ("no volume is refused", refused, "driver=gluster,path=a," + INET, "volume"),
    ("no path is refused", refused, "driver=gluster,volume=plain," + INET, "path"),
    ("missing server is told before missing volume", refused, "driver=gluster,path=a", "server"),
    ("gap in the servers is refused", refused, BASE + INET + ",server.2.type=unix,server.2.path=/x", "server"),
    ("servers that begin with 1 are refused", refused, BASE + INET.replace("server.0", "server.1"), "server"),
    ("no type is refused", refused, BASE + "server.0.host=h,server.0.port=1", "type"),
    ("type vsock is refused", refused, BASE + "server.0.type=vsock,server.0.cid=1,server.0.port=1", "type", "inet", "unix"),
    ("type fd is refused", refused, BASE + "server.0.type=fd,server.0.str=1", "type", "inet", "unix"),
    ("unknown type is refused", refused, BASE + "server.0.type=wool", "type"),
    ("no host is refused", refused, BASE + "server.0.type=inet,server.0.port=1", "host"),
    ("no port is refused", refused, BASE + "server.0.type=inet,server.0.host=h", "port"),
    ("to is refused", refused, BASE + INET + ",server.0.to=2", "to"),
    ("ipv4 is refused", refused, BASE + INET + ",server.0.ipv4=on", "ipv4"),
    ("ipv6 is refused even when off", refused, BASE + INET + ",server.0.ipv6=off", "ipv6"),
    ("unix without path is refused", refused, BASE + "server.0.type=unix", "path"),
    ("unix with path and socket is refused", refused, BASE + "server.0.type=unix,server.0.path=/a,server.0.socket=/b", "socket"),
    ("debug that is no number is refused", refused, BASE + INET + ",debug=wool", "debug"),
    ("filename and members together are refused", refused,
     "driver=gluster,filename=gluster://{host}:{port}/vol,volume=plain", "gluster://"),
    ("driver name with a transport is refused", refused, BASE.replace("driver=gluster", "driver=gluster+tcp") + INET, "gluster+tcp"),
    ("port beyond 65535 is refused", refused_by_us, BASE + INET.replace("{port}", "65536"), "port", "65536"),
    ("port that is no number is refused", refused_by_us, BASE + INET.replace("{port}", "http"), "port", "http"),
    ("unknown option is refused", refused_by_us, BASE + INET + ",wool=1", "wool"),
])


@test()
def leftover_member_next_to_filename_is_refused(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.fails("qemu-img", "info", "--image-opts", f"driver=gluster,filename={t.url()},volume=plain", names=["volume"])


@test(core=True)
def json_filename_that_info_tells_opens_the_image_again(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    options = {"driver": "gluster", "volume": "plain", "path": t.image(), "server": [t.gluster.server()]}
    found = json.loads(t.img("info", "--output=json", "json:" + json.dumps(options)).out)
    check(found["filename"].startswith("json:") and "server" in found["filename"], found)
    again = json.loads(t.img("info", "--output=json", found["filename"]).out)
    check(again["virtual-size"] == 1 << 20, again)


@test()
def json_filename_keeps_neither_debug_nor_logfile(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    options = {"driver": "gluster", "volume": "plain", "path": t.image(), "server": [t.gluster.server()], "debug": 1, "logfile": "/dev/null"}
    found = json.loads(t.img("info", "--output=json", "json:" + json.dumps(options)).out)
    check("debug" not in found["filename"] and "logfile" not in found["filename"], found)


@test(core=True)
def blockdev_add_takes_all_members(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(debug=3, logfile="/dev/null", **{"read-only": True}))
        (node,) = daemon.command("query-named-block-nodes")
        check(node["drv"] == "gluster" and node["ro"] and node["image"]["virtual-size"] == 1 << 20, node)


@test()
def message_of_a_failed_connection_lists_every_server(t):
    servers = [{"type": "inet", "host": "127.0.0.1", "port": "1"}, {"type": "unix", "path": "/no/such.sock"}]
    options = {"driver": "gluster", "volume": "plain", "path": "a", "server": servers}
    t.fails("qemu-img", "info", "json:" + json.dumps(options), names=["plain", "127.0.0.1", "/no/such.sock"])


@test(core=True)
def second_server_is_used_when_the_first_is_dead(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    with socket.socket() as dead:
        # Bound and not listening: every connection is refused, and nobody else gets the port.
        dead.bind(("127.0.0.1", 0))
        servers = [{"type": "inet", "host": "127.0.0.1", "port": str(dead.getsockname()[1])}, t.gluster.server()]
        options = {"driver": "gluster", "volume": "plain", "path": t.image(), "server": servers}
        done = t.ok("qemu-img", "info", "--output=json", "json:" + json.dumps(options), quiet=False)
    check(json.loads(done.out)["virtual-size"] == 1 << 20, done)
    t.note(f"it took {done.seconds:.2f} s; standard error: {done.err.strip()[:200]!r}")


@test(core=True)
def nodes_with_other_servers_do_not_share_a_connection(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    bogus = {"type": "inet", "host": "127.0.0.1", "port": "1"}
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(node="one"))
        try:
            daemon.add({**t.node(node="two"), "server": [bogus], "read-only": True})
        except QmpError as error:
            check("plain" in str(error), error)
        else:
            check(False, "a server that does not exist opened the image")
        daemon.add(t.node(node="three", **{"read-only": True}))
        check(len(daemon.command("query-named-block-nodes")) == 2, "nodes")


@test()
def nodes_of_the_same_volume_share_one_connection(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(node="one", **{"read-only": True}))
        before = daemon.descriptors(), len(daemon.threads())
        for number in range(5):
            daemon.add(t.node(node=f"more{number}", **{"read-only": True}))
        after = daemon.descriptors(), len(daemon.threads())
        check(after[0] <= before[0] + 2 and after[1] <= before[1] + 3, f"descriptors and threads: {before}, then {after}")


@test(alone=True)
def auto_read_only_opens_what_can_not_be_written(t):
    t.gluster.volume("readonly", "plain")
    # Else a client opens files when it first uses them, and learns of an error then.
    t.gluster.volume_set("readonly", "performance.open-behind", "off")
    url = t.url(volume="readonly")
    t.img("create", "-q", "-f", "raw", url, "1M")
    with read_only(t, "readonly", url), Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume="readonly", node="auto", **{"auto-read-only": True}))
        (node,) = daemon.command("query-named-block-nodes")
        check(node["ro"], node)
        try:
            daemon.add(t.node(volume="readonly", node="strict"))
        except QmpError as error:
            check("Read-only" in str(error), error)
        else:
            check(False, "a read-only image was opened for writing")


@test(core=True)
def blockdev_create_makes_an_image_of_exactly_that_size(t):
    location = {"volume": "plain", "path": t.image(), "server": [t.gluster.server()]}
    with Daemon(t.cell, t.work) as daemon:
        error = daemon.create(location, 1000)
        check(error is None, error)
    check(os.stat(t.brick()).st_size == 1000, os.stat(t.brick()))


@test()
def blockdev_create_preallocates(t):
    location = {"volume": "plain", "path": t.image(), "server": [t.gluster.server()]}
    with Daemon(t.cell, t.work) as daemon:
        error = daemon.create(location, 4 << 20, preallocation="full")
        check(error is None, error)
    check(os.stat(t.brick()).st_blocks * 512 >= 4 << 20, os.stat(t.brick()))


@test()
def blockdev_create_with_metadata_is_an_error(t):
    location = {"volume": "plain", "path": t.image(), "server": [t.gluster.server()]}
    with Daemon(t.cell, t.work) as daemon:
        error = daemon.create(location, 4 << 20, preallocation="metadata")
        check(error and "metadata" in error, error)
    check(not os.path.exists(t.brick()), "a file was left behind")


def create_refused(t, server, word):
    with Daemon(t.cell, t.work) as daemon:
        error = daemon.create({"volume": "plain", "path": t.image(), "server": [server]}, 1 << 20)
        check(error and word in error, error)
        daemon.command("query-named-block-nodes")
        check(daemon.quit() == 0, daemon.output())


cases("options", [
    ("blockdev create with a vsock server is an error and no abort", create_refused, {"type": "vsock", "cid": "3", "port": "1"}, "vsock"),
    ("blockdev create with an fd server is an error and no abort", create_refused, {"type": "fd", "str": "3"}, "fd"),
    ("blockdev create with a bad port is an error", create_refused, {"type": "inet", "host": "h", "port": "70000"}, "70000"),
    ("blockdev create with ipv6 is an error", create_refused, {"type": "inet", "host": "h", "port": "1", "ipv6": True}, "ipv6"),
])
