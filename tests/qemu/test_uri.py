# SPDX-License-Identifier: GPL-2.0-or-later
"""Every form of a gluster URI: those that open the image, those that are refused, and those that ask another server."""

import json

from lib.harness import cases, check, test

INVALID = "invalid URI"


def opens(t, template, image="a.img"):
    """The image must be found with its size, and the name that `info` tells must open it again."""
    t.img("create", "-q", "-f", "raw", t.url(image.replace(" ", "%20")), "1M")
    place = {"hp": f"{t.gluster.host}:{t.gluster.port}", "socket": t.gluster.socket, "id": t.id}
    url = template.format(**place)
    found = json.loads(t.img("info", "--output=json", url).out)
    check(found["virtual-size"] == 1 << 20, found)
    again = json.loads(t.img("info", "--output=json", found["filename"]).out)
    check(again["virtual-size"] == 1 << 20, again)


def opens_in_folder(t):
    t.gfapi("mkdir", f"/{t.id}")
    url = t.gluster.url("plain", f"{t.id}/b c")
    t.img("create", "-q", "-f", "raw", url, "1M")
    check(json.loads(t.img("info", "--output=json", url.replace(f"{t.id}/b c", f"{t.id}%2fb%20c")).out)["virtual-size"] == 1 << 20,
          "size")


def refused(t, uri, *names, same_as_stock=True):
    """Refused by us, naming the URI, and by the C driver."""
    done = t.fails("qemu-img", "info", uri, names=names or [INVALID, uri])
    check("GLib" not in done.err and "CRITICAL" not in done.err, done)
    if same_as_stock:
        stock = t.stock.run("qemu-img", "info", uri, cwd=t.work)
        check(stock.status == 1, f"the C driver: {stock}")


def asks(t, uri, *names):
    """Understood, and then nobody answers: the message names the server that was asked."""
    done = t.fails("qemu-img", "info", uri, names=names)
    check(INVALID not in done.err, done)


cases("uri", [
    ("host and port", opens, "gluster://{hp}/plain/{id}-a.img"),
    ("transport tcp", opens, "gluster+tcp://{hp}/plain/{id}-a.img"),
    ("slashes around the volume", opens, "gluster://{hp}//plain///{id}-a.img"),
    ("empty query", opens, "gluster://{hp}/plain/{id}-a.img?"),
    ("user is ignored", opens, "gluster://user@{hp}/plain/{id}-a.img"),
    ("fragment is ignored", opens, "gluster://{hp}/plain/{id}-a.img#frag"),
    ("percent encoding of the path", opens, "gluster://{hp}/pl%61in/{id}%2da.img"),
    ("percent encoded space", opens, "gluster://{hp}/plain/{id}-a%20b", "a b"),
    ("raw space", opens, "gluster://{hp}/plain/{id}-a b", "a b"),
    ("image in a folder", opens_in_folder),
    ("unix in the documented form", opens, "gluster+unix:///plain/{id}-a.img?socket={socket}"),
    ("unix without slashes", opens, "gluster+unix:/plain/{id}-a.img?socket={socket}"),
    ("no host asks the local host", asks, "gluster:/vol/a", "localhost", "24007"),
    ("no slash asks the local host", asks, "gluster:vol/a", "localhost", "24007"),
    ("empty host asks the local host", asks, "gluster:///vol/a", "localhost", "24007"),
    ("ipv6 host without brackets", asks, "gluster://[::1]:1/vol/a", "host ::1 port 1"),
    ("port 0 means the default port", asks, "gluster://127.0.0.1:0/vol/a", "port 24007"),
    ("no port means the default port", asks, "gluster://127.0.0.1/vol/a", "port 24007"),
    ("socket that does not exist", asks, "gluster+unix:///vol/a?socket=/no/such.sock", "/no/such.sock"),
    ("volume without image", refused, "gluster://h/vol"),
    ("volume without image but a slash", refused, "gluster://h/vol/"),
    ("host alone", refused, "gluster://h"),
    ("malformed escape", refused, "gluster://h/vol/a%zz"),
    ("parameters with inet", refused, "gluster://h/vol/a?x=y"),
    ("port too large", refused, "gluster://h:99999/vol/a"),
    ("port is no number", refused, "gluster://h:abc/vol/a"),
    ("upper case scheme", refused, "GLUSTER://h/vol/a", "Unknown protocol"),
    ("unknown transport", refused, "gluster+wool://h/vol/a", "Unknown protocol"),
    ("unix without socket", refused, "gluster+unix:///vol/a"),
    ("unix with another parameter", refused, "gluster+unix:/vol/a?foo=/x"),
    ("unix with a second parameter", refused, "gluster+unix:/vol/a?socket=/x&a=b"),
    ("unix with a host", refused, "gluster+unix://h/vol/a?socket=/x"),
])


@test()
def rdma_is_refused(t):
    refused(t, "gluster+rdma://h/vol/a", "gluster+rdma", same_as_stock=False)


@test()
def unix_with_an_empty_socket_is_refused(t):
    refused(t, "gluster+unix:/vol/a?socket=", same_as_stock=False)


@test()
def unix_with_two_sockets_is_refused(t):
    refused(t, "gluster+unix:/vol/a?socket=/x&socket=/y", same_as_stock=False)


@test()
def refused_uri_comes_with_a_usage_hint(t):
    done = t.fails("qemu-img", "info", "gluster://h/vol")
    check("Usage:" in done.err, done)


@test()
def create_refuses_a_bad_uri(t):
    t.fails("qemu-img", "create", "-f", "raw", "gluster://h/vol", "1M", names=[INVALID, "gluster://h/vol"])
