# SPDX-License-Identifier: GPL-2.0-or-later
"""Creating images: what comes out, what is refused, and that a create that fails leaves nothing behind."""

from concurrent.futures import ThreadPoolExecutor

from lib.harness import cases, check, test
from lib.qmp import Daemon
from lib.rbd import (DATA_POOL, MIB, POOL, SPACE, both_fail, c_cell, create, exported, fill, info, io, listing, make, objects, plain, some_bytes,
                     spec, url)

V1 = {"RBD_FORCE_ALLOW_V1": "1"}


def own_objects(t, pool, name, found):
    """The objects of an image, with NAME and ID for what no two images share."""
    number = found.get("id") or found["block_name_prefix"]
    return [line.replace(t.image(name), "NAME").replace(number, "ID") for line in listing(pool, plain(t)) if t.image(name) in line or number in line]


def like_the_c_driver(t, pool, conf, options, size):
    """The same create with both drivers makes the same kind of image."""
    names = {"a": t.cell, "b": c_cell(t)}
    made = plain(t).with_settings(t.path("more.conf"), **conf) if conf else plain(t).conf
    for name, cell in names.items():
        done = cell.run("qemu-img", "create", "-q", "-f", "raw", *options, f"rbd:{spec(t, name, pool)}:conf={made}", size, cwd=t.work, variables=V1)
        check(done.status == 0 and not done.err, done)
    ours, theirs = (info(t, name, pool) for name in names)
    for key in ("size", "objects", "order", "format", "features", "op_features", "flags"):
        check(ours.get(key) == theirs.get(key), f"{key}: {ours.get(key)}, not {theirs.get(key)}")
    check(ours["block_name_prefix"].rsplit(".", 1)[0].count(".") == theirs["block_name_prefix"].rsplit(".", 1)[0].count("."), f"{ours} {theirs}")
    left = [own_objects(t, pool, name, found) for name, found in zip(names, (ours, theirs))]
    check(sorted(left[0]) == sorted(left[1]), f"objects: {left[0]}, not {left[1]}")
    check({t.image("a"), t.image("b")} <= set(plain(t).rbd("ls", pool).split()), plain(t).rbd("ls", pool))
    plain(t).rbd("rm", "--no-progress", spec(t, "a", pool))
    check(not any(t.image("a") in line for line in listing(pool, plain(t))), "something is left after rbd rm")


cases("rbd_create", [
    ("plain image is like the C driver's", like_the_c_driver, POOL, {}, [], "10M"),
    ("image in a namespace is like the C driver's", like_the_c_driver, f"{POOL}/{SPACE}", {}, [], "10M"),
    ("image with small objects is like the C driver's", like_the_c_driver, POOL, {}, ["-o", "cluster_size=64k"], "10M"),
    ("image with the smallest objects is like the C driver's", like_the_c_driver, POOL, {}, ["-o", "cluster_size=4k"], "1M"),
    ("image with the largest objects is like the C driver's", like_the_c_driver, POOL, {}, ["-o", "cluster_size=32M"], "100M"),
    ("format 1 image is like the C driver's", like_the_c_driver, POOL, {"rbd_default_format": 1}, [], "10M"),
    ("format 1 image with small objects is like the C driver's", like_the_c_driver, POOL, {"rbd_default_format": 1}, ["-o", "cluster_size=64k"], "10M"),
    ("default size of objects is like the C driver's", like_the_c_driver, POOL, {"rbd_default_order": 16}, [], "10M"),
    ("default features by name are like the C driver's", like_the_c_driver, POOL, {"rbd_default_features": "layering,deep-flatten"}, [], "10M"),
    ("default features by number are like the C driver's", like_the_c_driver, POOL, {"rbd_default_features": 61}, [], "10M"),
    ("empty image is like the C driver's", like_the_c_driver, POOL, {}, [], "0"),
    ("size is rounded up to a sector as by the C driver", like_the_c_driver, POOL, {}, [], "1000"),
])


def configured_pool(t, pool, **settings):
    """A pool of the test's own, with settings for its images."""
    plain(t).pool(pool)
    for key, value in settings.items():
        plain(t).rbd("config", "pool", "set", pool, key, value)
    return pool


@test()
def settings_of_the_pool_are_like_the_c_drivers(t):
    pool = configured_pool(t, "configured", rbd_default_features="layering,exclusive-lock", rbd_default_order="20",
                           rbd_default_stripe_unit="64K", rbd_default_stripe_count="4")
    # In the configuration there is something else, which doesn't count then.
    like_the_c_driver(t, pool, {"rbd_default_order": 16, "rbd_default_features": 1}, [], "10M")
    made = info(t, "b", pool)
    check((made["order"], made["stripe_unit"], made["stripe_count"]) == (20, 65536, 4), made)
    check(set(made["features"]) == {"layering", "exclusive-lock", "striping"}, made["features"])
    # What is said of the image itself comes first.
    plain(t).rbd("rm", "--no-progress", spec(t, "b", pool))
    like_the_c_driver(t, pool, {}, ["-o", "cluster_size=128k"], "10M")
    t.img("create", "-q", "-f", "raw", url(t, "a", pool, rbd_default_order=21, rbd_default_features=1), "1M")
    made = info(t, "a", pool)
    check(made["order"] == 21 and "exclusive-lock" not in made["features"], made)


@test()
def settings_of_the_pool_hold_in_its_namespaces(t):
    pool = configured_pool(t, "configured-spaces", rbd_default_order="20")
    plain(t).namespace(pool, SPACE)
    like_the_c_driver(t, f"{pool}/{SPACE}", {}, [], "10M")
    check(info(t, "b", f"{pool}/{SPACE}")["order"] == 20, info(t, "b", f"{pool}/{SPACE}"))


@test()
def data_pool_of_the_pool_gets_the_data(t):
    pool = configured_pool(t, "configured-data", rbd_default_data_pool=DATA_POOL)
    t.img("create", "-q", "-f", "raw", url(t, "a", pool), "8M")
    made = info(t, "a", pool)
    check(made["data_pool"] == DATA_POOL and "data-pool" in made["features"], made)
    fill(t, some_bytes(MIB), pool=pool)
    check(objects(t, pool=pool, data=DATA_POOL) == 1 and objects(t, pool=pool) == 0, "the data is elsewhere")


def refused(t, pool, options, size, reason, *names):
    """Refused by both, and nothing is there afterwards."""
    both_fail(t, "create", "-q", "-f", "raw", *options, url(t, pool=pool), size, reason=reason, names=names)
    if pool != "nowhere":
        left = [line for line in listing(pool, plain(t)) if t.image("a") in line]
        check(not left and t.image("a") not in plain(t).rbd("ls", pool), f"left behind: {left}")


cases("rbd_create", [
    ("objects that are no power of two are refused", refused, POOL, ["-o", "cluster_size=5000"], "1M", None, "cluster_size"),
    ("objects below 4 KiB are refused", refused, POOL, ["-o", "cluster_size=2048"], "1M", None, "cluster_size"),
    ("objects above 32 MiB are refused", refused, POOL, ["-o", "cluster_size=64M"], "1M", None, "cluster_size"),
    ("preallocation is refused", refused, POOL, ["-o", "preallocation=full"], "1M", None, "preallocation"),
    ("unknown option is refused", refused, POOL, ["-o", "wool=1"], "1M", None, "wool"),
    ("no such pool is refused", refused, "nowhere", [], "1M", "No such file or directory", "nowhere"),
    ("no such secret is refused", refused, POOL, ["-o", "password-secret=nowhere"], "1M", None, "nowhere"),
])


def namespace_refused(t):
    both_fail(t, "create", "-q", "-f", "raw", url(t, pool=f"{POOL}/nowhere"), "1M", names=["nowhere"])


cases("rbd_create", [("namespace that does not exist is refused", namespace_refused)])


@test(core=True)
def snapshot_in_the_name_is_refused_and_nothing_is_made(t):
    t.fails("qemu-img", "create", "-q", "-f", "raw", url(t, "a@s"), "1M", names=["snapshot"])
    check(t.image("a") not in plain(t).rbd("ls"), "an image was made")


def never_overwrites(t, first):
    """An image that is there is not touched, whichever format it has and the new one would have."""
    data = some_bytes(MIB)
    plain(t).load(spec(t), data, *first)
    for conf in ({}, {"rbd_default_format": 1}):
        made = plain(t).with_settings(t.path("more.conf"), **conf)
        both_fail(t, "create", "-q", "-f", "raw", f"rbd:{spec(t)}:conf={made}", "5M", reason="File exists", names=[t.image("a")], variables=V1)
    check(exported(t) == data, "the image has changed")
    check(plain(t).rbd("ls").split().count(t.image("a")) == 1, "it is listed more or less than once")


cases("rbd_create", [("image that is there is not overwritten", never_overwrites, ["--image-feature", "layering"]),
                     ("format 1 image that is there is not overwritten", never_overwrites, ["--image-format", "1"])], core=True)


@test()
def two_at_once_make_one_image(t):
    for conf in ({}, {"rbd_default_format": 1}):
        made = plain(t).with_settings(t.path("more.conf"), **conf)
        name = f"rbd:{spec(t)}-{len(conf)}:conf={made}"
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: t.cell.run("qemu-img", "create", "-q", "-f", "raw", name, "1M", variables=V1), range(4)))
        check(sorted(result.status for result in results) == [0, 1, 1, 1], "\n".join(map(str, results)))
        check(plain(t).rbd("ls").split().count(f"{t.image('a')}-{len(conf)}") == 1, plain(t).rbd("ls"))
        io(t, name, "write 0 1M", "read 0 1M")


@test()
def many_format_1_images_at_once_are_all_in_the_directory(t):
    made = plain(t).with_settings(t.path("more.conf"), rbd_default_format=1)
    names = [f"{t.image('a')}-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: t.cell.run("qemu-img", "create", "-q", "-f", "raw", f"rbd:rbd/{name}:conf={made}", "1M", variables=V1), names))
    check(all(result.status == 0 for result in results), "\n".join(map(str, results)))
    check(set(names) <= set(plain(t).rbd("ls").split()), plain(t).rbd("ls"))


# What a user may write: a create fails after some of its steps.
STEPS = {
    "the directory may not be written": "allow rwx object_prefix rbd_id, allow rwx object_prefix rbd_header, allow r",
    "the id may not be written": "allow rwx object_prefix rbd_directory, allow rwx object_prefix rbd_header, allow rwx object_prefix rbd_info, allow r",
    "the header may not be written": "allow rwx object_prefix rbd_directory, allow rwx object_prefix rbd_id, allow rwx object_prefix rbd_info, allow r",
    "the object map may not be written": "allow rwx object_prefix rbd_directory, allow rwx object_prefix rbd_id, allow rwx object_prefix rbd_info, "
                                         "allow rwx object_prefix rbd_header, allow r",
    "nothing may be written": "allow r",
}


def leaves_nothing(t, step):
    ceph = plain(t)
    make(t, "first", MIB)
    user = t.image("u").replace(".", "-")
    ceph.cli("auth", "get-or-create", f"client.{user}", "mon", "profile rbd", "osd", STEPS[step])
    key = ceph.key(user)
    conf = ceph.with_settings(t.path("more.conf"), rbd_default_features=61)
    secret = "--object", f"secret,id=s,format=base64,data={key}"

    def left():
        return [line for line in listing(POOL, ceph) if t.image("a") in line], t.image("a") in ceph.rbd("ls").split()

    headers = ceph.rados("-p", POOL, "listomapkeys", "rbd_directory")
    done = t.cell.run("qemu-img", "create", "-q", "-f", "raw", *secret, "-o", "password-secret=s", f"rbd:{spec(t)}:conf={conf}:id={user}", "9M", cwd=t.work)
    check(done.status == 1 and "not permitted" in done.err and t.image("a") in done.err, done)
    check(left() == ([], False), left())
    now = ceph.rados("-p", POOL, "listomapkeys", "rbd_directory")
    check(t.image("a") not in now, f"{headers}, then {now}")
    # It can be made later.
    t.img("create", "-q", "-f", "raw", f"rbd:{spec(t)}:conf={conf}", "9M")


cases("rbd_create", [(f"create leaves nothing behind when {step}", leaves_nothing, step) for step in STEPS])


@test()
def format_1_create_that_fails_leaves_nothing_behind(t):
    ceph = plain(t)
    user = t.image("u").replace(".", "-")
    ceph.cli("auth", "get-or-create", f"client.{user}", "mon", "profile rbd", "osd", "allow rwx object_prefix rbd_directory, allow r")
    secret = "--object", f"secret,id=s,format=base64,data={ceph.key(user)}"
    conf = ceph.with_settings(t.path("more.conf"), rbd_default_format=1)
    done = t.cell.run("qemu-img", "create", "-q", "-f", "raw", *secret, "-o", "password-secret=s", f"rbd:{spec(t)}:conf={conf}:id={user}", "9M",
                      cwd=t.work, variables=V1)
    check(done.status == 1 and "not permitted" in done.err, done)
    check(t.image("a") not in ceph.rbd("ls").split(), ceph.rbd("ls"))
    t.img("create", "-q", "-f", "raw", f"rbd:{spec(t)}:conf={conf}", "9M", variables=V1)


# --- blockdev-create ------------------------------------------------------------------------------------------------

def location(t, name="a", **more):
    return {"pool": POOL, "image": t.image(name), "conf": plain(t).conf, **more}


@test(core=True)
def blockdev_create_makes_an_image_of_exactly_that_size(t):
    with Daemon(t.cell, t.work) as daemon:
        check(create(daemon, location(t), 1000) is None, "create")
        check(create(daemon, location(t, "b", namespace=SPACE), 3 * MIB, **{"cluster-size": 65536}) is None, "create")
        for arguments, word in (((location(t), 5 * MIB), "exists"), ((location(t, "c", snapshot="s"), MIB), "snapshot"),
                                ((location(t, "c", pool="nowhere"), MIB), "nowhere"), ((location(t, "c", namespace="nowhere"), MIB), "nowhere")):
            error = create(daemon, *arguments)
            check(error and word in error, error)
        error = create(daemon, location(t, "c"), MIB, **{"cluster-size": 5000})
        check(error and "cluster" in error, error)
        check(daemon.quit() == 0, daemon.output())
    check(info(t)["size"] == 1000, info(t))
    found = info(t, "b", f"{POOL}/{SPACE}")
    check((found["size"], found["order"]) == (3 * MIB, 16), found)
    check(t.image("c") not in plain(t).rbd("ls").split(), "something was made")


@test()
def blockdev_create_takes_a_secret_and_servers(t):
    host, port = plain(t).monitors[0]
    with Daemon(t.cell, t.work, "--object", f"secret,id=s,format=base64,data={plain(t).key('vm')}") as daemon:
        place = {"pool": POOL, "image": t.image("a"), "server": [{"host": host, "port": port}], "user": "vm", "key-secret": "s",
                 "auth-client-required": ["cephx", "none"]}
        error = create(daemon, place, MIB)
        check(error is None, error)
    check(info(t)["size"] == MIB, info(t))


@test()
def create_of_an_encrypted_image_is_refused_and_makes_nothing(t):
    t.fails("qemu-img", "create", "-q", "-f", "raw", "--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s", url(t), "5M",
            names=["luks"])
    check(t.image("a") not in plain(t).rbd("ls").split(), "an image was made")


@test()
def convert_makes_and_fills_an_image(t):
    data = some_bytes(5 * MIB)
    with open(t.path("in"), "wb") as file:
        file.write(data)
    t.img("convert", "-f", "raw", "-O", "raw", t.path("in"), url(t))
    check(exported(t) == data, "what librbd reads is another")
    t.img("compare", "-f", "raw", "-F", "raw", t.path("in"), url(t))
    both_fail(t, "convert", "-f", "raw", "-O", "raw", t.path("in"), url(t), reason=None, names=["exists"])
