# SPDX-License-Identifier: GPL-2.0-or-later
"""File names of rbd: every spelling in the field opens the image that the C driver opens, and calls it by the same name."""

from lib.harness import cases, check, test
from lib.rbd import MIB, SPACE, both, both_fail, c_cell, file_name, image_json, make, plain, spec, url

# Of what the C driver loses of these, the file name that it tells does not open the image again.
LOST_BY_C = ("=keyvalue-pairs", "key-secret", "auth-client-required")


def filled(t, text):
    """A file name with the names, ports and keys of the cluster in it."""
    ceph = plain(t)
    (host, new), (_, old) = ceph.monitors
    words = {"IMAGE": t.image("a"), "CONF": ceph.conf, "HOST": host, "NEW": new, "OLD": old, "KEYRING": ceph.keyring(), "SPACE": SPACE}
    if "VMKEY" in text:
        words["VMKEY"] = ceph.key("vm")
    for word, value in words.items():
        text = text.replace("{" + word + "}", value)
    return text


def images(t, pool="rbd"):
    """Images of other sizes for the pool, the namespace and a snapshot, so that a test sees which one was opened."""
    make(t, "a", 3 * MIB)
    make(t, "a", 5 * MIB, pool=f"rbd/{SPACE}")
    plain(t).rbd("snap", "create", "--no-progress", spec(t) + "@snap")
    plain(t).rbd("resize", "--no-progress", "-s", f"{4 * MIB}B", spec(t))


def opened(t, text, size):
    """Opened by both, as the same image, and under the same name."""
    images(t)
    name = filled(t, text)
    ours, c = both(t, "info", "--output=json", name)
    check(ours.status == 0 and c.status == 0 and not ours.err, f"ours:\n{ours}\nC driver:\n{c}")
    found, expected = file_name(ours.out), file_name(c.out)
    for key in LOST_BY_C:
        found.pop(key, None)
    check(found == expected, f"ours: {found}\nC driver: {expected}")
    check(f'"virtual-size": {size}' in ours.out, ours)
    check(f'"virtual-size": {size}' in c.out, c)


def refused(t, text, reason, *names):
    make(t, "a", 3 * MIB)
    both_fail(t, "info", filled(t, text), reason=reason, names=names)


A, IN_SPACE, SNAP = 4 * MIB, 5 * MIB, 3 * MIB
MONITORS = r"mon_host=[v2\:{HOST}\:{NEW},v1\:{HOST}\:{OLD}]"
cases("rbd_names", [
    ("pool and image", opened, "rbd:rbd/{IMAGE}:conf={CONF}", A),
    ("namespace", opened, "rbd:rbd/{SPACE}/{IMAGE}:conf={CONF}", IN_SPACE),
    ("empty namespace is none", opened, "rbd:rbd//{IMAGE}:conf={CONF}", A),
    ("snapshot", opened, "rbd:rbd/{IMAGE}@snap:conf={CONF}", SNAP),
    ("Nova", opened, "rbd:rbd/{IMAGE}:id=vm:conf={CONF}", A),
    ("Proxmox with a configuration file and a keyring", opened, "rbd:rbd/{IMAGE}:conf={CONF}:id=admin:keyring={KEYRING}", A),
    ("Proxmox with a snapshot in a namespace would need one", refused, "rbd:rbd/{SPACE}/{IMAGE}@snap:conf={CONF}:id=admin", "No such file or directory"),
    ("Proxmox with monitors", opened, r"rbd:rbd/{IMAGE}:mon_host={HOST}\:{NEW};{HOST}\:{NEW}:auth_supported=cephx:id=admin:keyring={KEYRING}", A),
    ("Proxmox with a cache policy", opened, "rbd:rbd/{IMAGE}:conf={CONF}:id=admin:keyring={KEYRING}:rbd_cache_policy=writeback", A),
    ("old libvirt", opened, r"rbd:rbd/{IMAGE}:id=vm:auth_supported=cephx\;none:mon_host={HOST}\:{NEW}\;{HOST}\:{NEW}:keyring={KEYRING}", A),
    ("key in the clear", opened, r"rbd:rbd/{IMAGE}:id=vm:key={VMKEY}:auth_supported=cephx\;none:mon_host={HOST}\:{NEW}", A),
    ("CloudStack", opened,
     r"rbd:rbd/{IMAGE}:mon_host={HOST}\:{NEW}\;{HOST}\:{NEW}:auth_supported=cephx:id=vm:key={VMKEY}:rbd_default_format=2:client_mount_timeout=30", A),
    ("monitors with versions of the protocol", opened, "rbd:rbd/{IMAGE}:" + MONITORS + ":keyring={KEYRING}", A),
    ("port of the old protocol", opened, r"rbd:rbd/{IMAGE}:mon_host={HOST}\:{OLD}:keyring={KEYRING}", A),
    ("the last of two values of a key counts", opened, r"rbd:rbd/{IMAGE}:conf={CONF}:mon_host=127.0.0.1\:1:mon_host={HOST}\:{NEW}", A),
    ("key/value pairs win over the configuration file", refused, r"rbd:rbd/{IMAGE}:keyring=/nowhere:key=:conf={CONF}", None),
    ("the last of two configuration files counts", opened, "rbd:rbd/{IMAGE}:conf=/nowhere:conf={CONF}", A),
    ("the last of two users counts", opened, "rbd:rbd/{IMAGE}:id=nobody:conf={CONF}:id=vm", A),
    ("escaped characters stand for themselves", opened, r"rbd:\r\b\d/{IMAGE}:conf={CONF}", A),
    ("escaped at sign is part of a name", refused, r"rbd:rbd/{IMAGE}\@snap:conf={CONF}", "No such file or directory", "@snap"),
    ("escaped slash is part of a name", refused, r"rbd:rbd\/{SPACE}/{IMAGE}:conf={CONF}", "No such file or directory", f"rbd/{SPACE}"),
    ("third slash is part of the image", refused, "rbd:rbd/{SPACE}/b/{IMAGE}:conf={CONF}", "No such file or directory", "b/"),
    ("at sign in a value ends the image there", refused, "rbd:rbd/{IMAGE}:keyring=/a@b:conf={CONF}", None, "keyring=", "namespace"),
    ("nothing behind the prefix", refused, "rbd:", None, "pool"),
    ("only a pool", refused, "rbd:rbd", None, "pool"),
    ("empty image", refused, "rbd:rbd/:conf={CONF}", None, "image"),
    ("empty pool", refused, "rbd:/{IMAGE}:conf={CONF}", None, "pool"),
    ("no such pool", refused, "rbd:nowhere/{IMAGE}:conf={CONF}", "No such file or directory", "nowhere"),
    ("no such image", refused, "rbd:rbd/nothing:conf={CONF}", "No such file or directory", "nothing"),
    ("no such namespace", refused, "rbd:rbd/nowhere/{IMAGE}:conf={CONF}", None, "nowhere"),
    ("no such snapshot", refused, "rbd:rbd/{IMAGE}@nothing:conf={CONF}", None, "nothing"),
    ("no such user", refused, "rbd:rbd/{IMAGE}:conf={CONF}:id=nobody", None, "nobody"),
    ("no such configuration file", refused, "rbd:rbd/{IMAGE}:conf=/no/where", "No such file or directory", "/no/where"),
    ("key without a value", refused, "rbd:rbd/{IMAGE}:conf={CONF}:id", None, "id"),
    ("nothing behind a colon", refused, "rbd:rbd/{IMAGE}:conf={CONF}:", None, "value"),
    ("key that Ceph does not know", refused, "rbd:rbd/{IMAGE}:conf={CONF}:wool=1", None, "wool"),
    ("value that Ceph does not take", refused, "rbd:rbd/{IMAGE}:conf={CONF}:client_mount_timeout=wool", "Invalid argument", "client_mount_timeout"),
    ("wrong key", refused, r"rbd:rbd/{IMAGE}:id=vm:key=AQAKYwBrOE+OHhAAHKGOORoFjq6of05thZnBGA==:mon_host={HOST}\:{NEW}:client_mount_timeout=2",
     None, "vm"),
], core=False)


@test()
def names_with_everything_that_has_a_meaning_are_the_same_image_for_both(t):
    # Slashes and at signs are not for images that librbd's tool makes; QEMU can.
    name = f"{t.image('a')} :=;,%\\x"
    escaped = name.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")
    image = plain(t).url(f"rbd/{escaped}")
    t.img("create", "-q", "-f", "raw", image, "3M")
    ours, c = both(t, "info", "--output=json", image)
    check(ours.status == 0 and c.status == 0, f"ours:\n{ours}\nC driver:\n{c}")
    check(file_name(ours.out)["image"] == name == file_name(c.out)["image"], ours)
    plain(t).rbd("rm", "--no-progress", f"rbd/{name}")


@test(core=True)
def file_name_that_info_tells_opens_the_image_again(t):
    images(t)
    for text, size in (("rbd:rbd/{SPACE}/{IMAGE}:id=vm:conf={CONF}:client_mount_timeout=30", IN_SPACE), ("rbd:rbd/{IMAGE}@snap:conf={CONF}", SNAP)):
        told = file_name(t.img("info", "--output=json", filled(t, text)).out)
        found = t.img("info", "--output=json", image_json(told)).out
        check(f'"virtual-size": {size}' in found, found)
        check(file_name(found) == told, f"{file_name(found)} is not {told}")


@test(core=True)
def overlay_keeps_the_whole_name_of_its_backing_image(t):
    make(t, "a", 3 * MIB)
    overlay = t.path("o.qcow2")
    secret = ["--object", f"secret,id=s,format=base64,data={plain(t).key('vm')}"]
    (host, port), _ = plain(t).monitors
    options = {"driver": "rbd", "pool": "rbd", "image": t.image("a"), "user": "vm", "key-secret": "s", "auth-client-required": ["cephx"],
               "server": [{"host": host, "port": port}]}
    told = t.img("info", *secret, "--output=json", image_json(options)).out
    name = image_json({"driver": "raw", "file": file_name(told)})
    t.img("create", *secret, "-q", "-f", "qcow2", "-F", "raw", "-b", name, overlay)
    found = t.img("info", *secret, "--output=json", "--backing-chain", overlay).out
    check(found.count(f'"virtual-size": {3 * MIB}') >= 2, found)


def info_never_shows(t, secret, *args):
    for cell in (t.cell, c_cell(t)):
        done = cell.run("qemu-img", "info", "--output=json", *args, cwd=t.work)
        check(done.status == 0, done)
        check(secret not in done.out + done.err, f"the key is printed: {done}")


@test(core=True)
def key_in_a_file_name_is_not_printed_by_info(t):
    make(t)
    key = plain(t).key("vm")
    info_never_shows(t, key, filled(t, r"rbd:rbd/{IMAGE}:id=vm:key={VMKEY}:mon_host={HOST}\:{NEW}"))


@test()
def key_in_a_secret_is_not_printed_by_info(t):
    make(t)
    key = plain(t).key("vm")
    info_never_shows(t, key, "--object", f"secret,id=s,format=base64,data={key}",
                     image_json({"driver": "rbd", "pool": "rbd", "image": t.image("a"), "user": "vm", "key-secret": "s", "conf": plain(t).conf}))


@test()
def key_is_not_part_of_our_own_message_when_something_else_is_wrong(t):
    make(t)
    key = plain(t).key("vm")
    for tail in (":wool=1", ":client_mount_timeout=wool", ":conf=/no/where", ""):
        name = filled(t, r"rbd:rbd/{IMAGE}-not:id=vm:key={VMKEY}:mon_host={HOST}\:{NEW}") + tail
        done = t.fails("qemu-img", "info", name)
        # The block layer shows the file name as it was given; what comes behind it is ours.
        check(key not in done.err.replace(name, ""), done)


@test()
def settings_of_the_environment_are_used_without_a_configuration_file(t):
    make(t, "a", 3 * MIB)
    found = t.img("info", "--output=json", f"rbd:{spec(t)}", variables={"CEPH_CONF": plain(t).conf}).out
    check(f'"virtual-size": {3 * MIB}' in found, found)
    check("conf" not in file_name(found), found)


@test()
def successful_run_prints_nothing_more(t):
    make(t)
    t.img("info", url(t))
    t.io(url(t), "write -P 1 0 64k", "read -P 1 0 64k")
