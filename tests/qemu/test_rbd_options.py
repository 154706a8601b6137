# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of rbd nodes: what libvirt, Proxmox, LXD and Nova pass, the legacy spellings, and what is refused and why."""

import json
import os
import signal
import socket
import threading

from lib.harness import Skip, cases, check, test
from lib.qmp import Daemon, QmpError
from lib.rbd import MIB, SPACE, both, both_fail, c_cell, file_name, image_json, io, make, node, plain, spec, url

LOST_BY_C = ("key-secret", "auth-client-required", "encrypt", "=keyvalue-pairs")


def secret(t, user="vm", name="s"):
    """Arguments that make the secret object with a user's key."""
    return "--object", f"secret,id={name},format=base64,data={plain(t).key(user)}"


def server(t, version=2):
    host, port = plain(t).monitors[2 - version]
    return {"host": host, "port": port}


def base(t, **more):
    """The least that is needed."""
    return {"driver": "rbd", "pool": "rbd", "image": t.image("a"), **more}


def rows(t):
    """What the rows of the tables below stand for."""
    conf, (host, port) = plain(t).conf, plain(t).monitors[0]
    return {
        "conf": {"conf": conf},
        "libvirt": {"server": [server(t), server(t)], "user": "vm", "auth-client-required": ["cephx", "none"], "key-secret": "s",
                    "node-name": "libvirt-1-storage", "auto-read-only": True, "read-only": False, "discard": "unmap",
                    "cache": {"direct": True, "no-flush": False}},
        "libvirt with an empty namespace": {"server": [server(t)], "user": "vm", "key-secret": "s", "namespace": ""},
        "libvirt with a namespace": {"server": [server(t)], "user": "admin", "key-secret": "a", "namespace": SPACE},
        "libvirt with a snapshot": {"server": [server(t)], "user": "vm", "key-secret": "s", "snapshot": "snap", "read-only": True},
        "Nova with a cache": {"server": [server(t)], "user": "vm", "auth-client-required": ["cephx", "none"], "key-secret": "s",
                              "cache": {"direct": False, "no-flush": False}, "discard": "unmap"},
        "Proxmox": {"conf": conf, "cache": {"direct": True, "no-flush": False}, "detect-zeroes": "unmap", "discard": "unmap",
                    "node-name": "e0123456789abcdef0123456789abcd", "read-only": False},
        "Proxmox with monitors": {"conf": conf, "server": [server(t)], "auth-client-required": ["cephx"], "user": "admin"},
        "LXD": {"user": "vm", "conf": conf, "server": [server(t)], "key-secret": "s", "cache": {"direct": False, "no-flush": False},
                "discard": "unmap", "read-only": False},
        "legacy password-secret": {"server": [server(t)], "user": "vm", "password-secret": "s"},
        "server of the old protocol": {"server": [server(t, 1)], "conf": conf},
        "server wins over the configuration file": {"conf": t.path("elsewhere.conf"), "server": [server(t)], "user": "vm", "key-secret": "s"},
        "server wins over key/value pairs": {"conf": conf, "=keyvalue-pairs": json.dumps(["mon_host", "127.0.0.1:1"]), "server": [server(t)]},
        "key/value pairs": {"=keyvalue-pairs": json.dumps(["keyring", plain(t).keyring(), "mon_host", f"{host}:{port}"])},
    }


def opened(t, row, size):
    """Opened by both, as the same image with the same name; the name that ours tells opens it again."""
    make(t, "a", 3 * MIB)
    make(t, "a", 5 * MIB, pool=f"rbd/{SPACE}")
    plain(t).rbd("snap", "create", "--no-progress", spec(t) + "@snap")
    plain(t).rbd("resize", "--no-progress", "-s", f"{4 * MIB}B", spec(t))
    with open(t.path("elsewhere.conf"), "w", encoding="ascii") as file:
        file.write("[global]\nmon host = 127.0.0.1:1\nclient mount timeout = 30\n")
    objects = [*secret(t), *secret(t, "admin", "a")]
    ours, c = both(t, "info", *objects, "--output=json", image_json(base(t, **rows(t)[row])))
    check(ours.status == 0 and c.status == 0 and not ours.err, f"ours:\n{ours}\nC driver:\n{c}")
    found, expected = file_name(ours.out), file_name(c.out)
    check({key: value for key, value in found.items() if not key.startswith(LOST_BY_C)} == expected, f"ours: {found}\nC driver: {expected}")
    check(f'"virtual-size": {size}' in ours.out, ours)
    check(f'"virtual-size": {size}' in c.out, c)
    again = t.img("info", *objects, "--output=json", image_json(found)).out
    check(file_name(again) == found and f'"virtual-size": {size}' in again, again)


cases("rbd_options", [(f"{row} opens the image", opened, row, 3 * MIB if "snapshot" in row else 5 * MIB if "with a namespace" in row else 4 * MIB)
                      for row in ("conf", "libvirt", "libvirt with an empty namespace", "libvirt with a namespace", "libvirt with a snapshot",
                                  "Nova with a cache", "Proxmox", "Proxmox with monitors", "LXD", "legacy password-secret",
                                  "server of the old protocol", "server wins over the configuration file",
                                  "server wins over key/value pairs", "key/value pairs")], core=True)


def refused(t, more, *names, drop=()):
    make(t, "a", 3 * MIB)
    options = base(t, **{"conf": plain(t).conf, **more})
    for key in drop:
        del options[key]
    both_fail(t, "info", *secret(t), image_json(options), names=names)


def refused_without(t, key):
    refused(t, {}, key, drop=[key])


cases("rbd_options", [
    ("no pool is refused", refused_without, "pool"),
    ("no image is refused", refused_without, "image"),
    ("unknown option is refused", refused, {"wool": "1"}, "wool"),
    ("server without a port is refused", refused, {"server": [{"host": "h"}]}, "port"),
    ("server without a host is refused", refused, {"server": [{"port": "1"}]}, "host"),
    ("unknown member of a server is refused", refused, {"server": [{"host": "h", "port": "1", "wool": "1"}]}, "wool"),
    ("gap in the servers is refused", refused, {"server.0.host": "h", "server.0.port": "1", "server.2.host": "h"}, "server"),
    ("unknown way to authenticate is refused", refused, {"auth-client-required": ["wool"]}, "wool"),
    ("secret that is not there is refused", refused, {"key-secret": "nowhere"}, "nowhere"),
    ("two spellings of the secret are refused", refused, {"key-secret": "s", "password-secret": "s"}, "key-secret"),
    ("namespace that does not exist is refused", refused, {"namespace": "nowhere"}, "nowhere"),
    ("snapshot that does not exist is refused", refused, {"snapshot": "nowhere", "read-only": True}, "nowhere"),
    ("encryption without a format is refused", refused, {"encrypt.key-secret": "s"}, "format"),
    ("encryption of a plain image is refused", refused, {"encrypt.format": "luks", "encrypt.key-secret": "s"}, "luks"),
])


def refused_by_us(t, more, *names):
    make(t, "a", 3 * MIB)
    t.fails("qemu-img", "info", *secret(t), image_json(base(t, **{"conf": plain(t).conf, **more})), names=names)


cases("rbd_options", [
    ("port that is no number is refused", refused_by_us, {"server": [{"host": "127.0.0.1", "port": "http"}]}, "port", "http"),
    ("port beyond 65535 is refused", refused_by_us, {"server": [{"host": "127.0.0.1", "port": "65536"}]}, "port", "65536"),
    # The C driver crashes.
    ("key/value pairs that are no list are refused", refused_by_us, {"=keyvalue-pairs": "{}"}, "=keyvalue-pairs"),
    ("key/value pairs of an odd number are refused", refused_by_us, {"=keyvalue-pairs": '["a"]'}, "=keyvalue-pairs"),
    ("empty pool is refused", refused_by_us, {"pool": ""}, "pool"),
    ("empty image is refused", refused_by_us, {"image": ""}, "image"),
])


# --- the legacy file name within structured options -----------------------------------------------------------------

@test()
def legacy_file_name_opens_the_image_and_is_deprecated(t):
    make(t, "a", 3 * MIB)
    for options in ({"driver": "rbd", "filename": url(t)}, {"driver": "raw", "file": {"driver": "rbd", "filename": url(t)}}):
        ours, c = both(t, "info", "--output=json", image_json(options))
        check(ours.status == 0 and c.status == 0, f"ours:\n{ours}\nC driver:\n{c}")
        check("deprecated" in ours.err and "deprecated" in c.err, f"ours:\n{ours}\nC driver:\n{c}")
        check(file_name(ours.out) == file_name(c.out), f"{file_name(ours.out)} is not {file_name(c.out)}")


@test()
def legacy_file_name_wins_over_what_stands_beside_it(t):
    make(t, "a", 3 * MIB)
    make(t, "b", 5 * MIB)
    ours, c = both(t, "info", "--output=json", image_json({"driver": "rbd", "filename": url(t, "b"), "pool": "rbd", "image": t.image("a")}))
    check(ours.status == 0 and f'"virtual-size": {5 * MIB}' in ours.out, ours)
    check(c.status == 0 and f'"virtual-size": {5 * MIB}' in c.out, c)


def no_crash(t, more, *names):
    """The C driver crashes with this."""
    make(t)
    options = {"driver": "rbd", "filename": url(t), **more}
    t.fails("qemu-img", "info", image_json(options), names=names)
    c = c_cell(t).run("qemu-img", "info", image_json(options), cwd=t.work)
    check(c.status != 0, c)
    t.note(f"the C driver: {signal.Signals(-c.status).name if c.status < 0 else c.status}")


cases("rbd_options", [
    ("legacy file name with an unknown option is refused without a crash", no_crash, {"wool": "1"}, "wool"),
    ("legacy file name that is none is refused without a crash", no_crash, {"filename": "rbd:wool"}, "rbd:wool"),
])


@test()
def legacy_backing_string_of_old_images_opens(t):
    make(t, "a", 3 * MIB)
    io(t, url(t), "write -P 7 0 64k")
    overlay = t.path("o.qcow2")
    name = image_json({"driver": "raw", "file.driver": "rbd", "file.filename": url(t)})
    t.ok("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", name, overlay, "3M", quiet=False)
    done = t.cell.run("qemu-io", "-f", "qcow2", "-c", "read -P 7 0 64k", overlay, cwd=t.work)
    check(done.status == 0 and "verification" not in done.out, done)


# --- monitors -------------------------------------------------------------------------------------------------------

def tried(t, host, family, *monitors):
    """Whether a node that is to be opened connects to a listener of ours at `host`."""
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as error:
        raise Skip(f"no address {host} here: {error}") from error
    seen = threading.Event()

    def accept():
        try:
            connection, _ = listener.accept()
            seen.set()
            connection.close()
        except OSError:
            pass

    with listener:
        listener.settimeout(30)
        thread = threading.Thread(target=accept)
        thread.start()
        conf = plain(t).with_settings(t.path("short.conf"), client_mount_timeout=2)
        servers = [{"host": host, "port": str(listener.getsockname()[1])}, *monitors]
        done = t.cell.run("qemu-img", "info", image_json(base(t, conf=conf, server=servers)), cwd=t.work)
        thread.join()
    check(seen.is_set(), f"nobody connected to {host}: {done}")
    return done


@test()
def bare_ipv6_host_is_what_is_connected_to(t):
    done = tried(t, "::1", socket.AF_INET6)
    check(done.status == 1, done)


@test()
def second_monitor_is_used_when_the_first_is_none(t):
    make(t)
    for _ in range(3):
        # The client begins with any of them.
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            servers = [{"host": "127.0.0.1", "port": str(dead.getsockname()[1])}, server(t)]
            t.ok("qemu-img", "info", image_json(base(t, conf=plain(t).conf, server=servers)))


@test(core=True)
def open_against_a_dead_monitor_ends_after_client_mount_timeout(t):
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        name = f"rbd:rbd/a:mon_host=127.0.0.1\\:{dead.getsockname()[1]}:client_mount_timeout=2:keyring={plain(t).keyring()}"
        ours, c = both_fail(t, "info", name, names=["admin"], reason=None)
    for done in (ours, c):
        check("timed out" in done.err.lower(), done)
    check(1 <= ours.seconds < 8, ours)


# --- users, caches, reopening ---------------------------------------------------------------------------------------

@test(core=True)
def user_of_a_virtual_machine_may_do_everything(t):
    name = url(t, id="vm")
    t.img("create", "-q", "-f", "raw", name, "8M")
    io(t, name, "write -P 3 0 5M", "read -P 3 0 5M", "discard 0 4M", "flush")
    t.img("snapshot", "-c", "s", name, quiet=False)
    t.img("resize", "-q", "-f", "raw", name, "9M")
    t.img("snapshot", "-a", "s", name, quiet=False)
    t.img("snapshot", "-d", "s", name, quiet=False)


def auto_read_only(t, caps, is_snapshot):
    make(t)
    plain(t).rbd("snap", "create", "--no-progress", spec(t) + "@s")
    user = t.image("user").replace(".", "-")
    plain(t).cli("auth", "get-or-create", f"client.{user}", "mon", "profile rbd", "osd", caps)
    options = base(t, conf=plain(t).conf, user=user, **{"key-secret": "k", **({"snapshot": "s"} if is_snapshot else {})})
    objects = "--object", f"secret,id=k,format=base64,data={plain(t).key(user)}"
    # The C driver only tries to write, so that such a user can not open anything but snapshots.
    for cell in (t.cell, c_cell(t)) if is_snapshot else (t.cell,):
        with Daemon(cell, t.work, *objects) as daemon:
            daemon.add({**options, "node-name": "auto", "auto-read-only": True})
            (found,) = daemon.command("query-named-block-nodes")
            check(found["ro"], found)
            try:
                daemon.add({**options, "node-name": "strict"})
            except QmpError as error:
                check("read-only" in str(error) if is_snapshot else "not permitted" in str(error), error)
            else:
                check(False, "what is read-only was opened for writing")


cases("rbd_options", [
    ("auto-read-only opens a snapshot read-only", auto_read_only, "profile rbd", True),
    ("auto-read-only opens what the user may not write read-only", auto_read_only, "profile rbd-read-only", False),
])


@test()
def reopening_changes_what_a_node_may_do_and_no_other_option(t):
    make(t)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, **{"read-only": True}))
        socket_name = daemon.export("r", writable=False)
        daemon.raw("blockdev-reopen", {"options": [node(t, **{"read-only": False})]})
        (found,) = daemon.command("query-named-block-nodes")
        check(not found["ro"], found)
        try:
            daemon.raw("blockdev-reopen", {"options": [{**node(t), "image": t.image("b")}]})
        except QmpError as error:
            check("image" in str(error), error)
        else:
            check(False, "a reopen changed the image")
        daemon.raw("blockdev-reopen", {"options": [node(t, **{"read-only": True})]})
        (found,) = daemon.command("query-named-block-nodes")
        check(found["ro"] and os.path.exists(t.path(socket_name)), found)


@test()
def hundred_nodes_open_and_close_without_leaving_anything(t):
    make(t)
    with Daemon(t.cell, t.work) as daemon:
        for number in range(100):
            if number == 20:
                before = daemon.descriptors(), len(daemon.threads()), daemon.resident()
            daemon.add(node(t))
            daemon.remove("r")
        after = daemon.descriptors(), len(daemon.threads()), daemon.resident()
        check(after[0] <= before[0] + 2 and after[1] <= before[1] + 2 and after[2] <= before[2] + 20480, f"descriptors, threads, KiB: {before}, then {after}")
        t.note(f"descriptors, threads, KiB: {before}, then {after}")
