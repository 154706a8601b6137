# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image is on the cluster, read without librbd and without our driver: header, snapshots, and every object."""

import json
import struct

import rados


class Cluster:
    """A connection as the administrator; `conf` is the path of a ceph.conf."""

    def __init__(self, conf):
        self._rados = rados.Rados(conffile=conf)
        self._rados.connect(timeout=20)

    def pool(self, name, namespace=""):
        pool = self._rados.open_ioctx(name)
        pool.set_namespace(namespace)
        return pool

    def pool_name(self, number):
        return self._rados.pool_reverse_lookup(number)

    def blocklist(self, address):
        """Shut a client out, and end its watches with that."""
        order = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address}
        code, _, text = self._rados.mon_command(json.dumps(order), b"")
        if code:
            raise rados.Error(f"{address} can't be put on the blocklist: {text}")
        self._rados.wait_for_latest_osdmap()

    def close(self):
        self._rados.shutdown()


def omap(pool, name):
    """All keys of an object; none, if it does not exist."""
    found, after = {}, ""
    while True:
        with rados.ReadOpCtx() as op:
            values, _ = pool.get_omap_vals(op, after, "", 512)
            try:
                pool.operate_read_op(op, name)
            except rados.ObjectNotFound:
                return found
            new = dict(values)
        found.update(new)
        if len(new) < 512:
            return found
        after = max(new)


def stat(pool, name):
    """The size of an object, or None."""
    try:
        return pool.stat(name)[0]
    except rados.ObjectNotFound:
        return None


def number(data):
    return int.from_bytes(data, "little")


class Image:
    """One image. Snapshots are told by their order, as their ids differ from image to image."""

    def __init__(self, cluster, pool, namespace, name, form):
        self.name, self.form = name, form
        self.meta = cluster.pool(pool, namespace)
        self.seen = set()
        if form == 1:
            self.header_name = f"{name}.rbd"
            self.prefix, self.digits, self.data = self._header1()["block_name"].decode(), 12, self.meta
        else:
            self.id = self.meta.read(f"rbd_id.{name}")[4:].decode()
            self.header_name = f"rbd_header.{self.id}"
            header = omap(self.meta, self.header_name)
            self.prefix, self.digits = header["object_prefix"][4:].decode(), 16
            data_pool = int.from_bytes(header.get("data_pool_id", b"\xff" * 8), "little", signed=True)
            self.data = self.meta if data_pool < 0 else cluster.pool(cluster.pool_name(data_pool), namespace)

    def object_name(self, index):
        return f"{self.prefix}.{index:0{self.digits}x}"

    def objects(self):
        """Size of each data object, by its number."""
        prefix = self.prefix + "."
        self.data.set_read(0xFFFFFFFFFFFFFFFE)
        names = [entry.key for entry in self.data.list_objects() if entry.key.startswith(prefix)]
        found = {int(name[len(prefix):], 16): stat(self.data, name) for name in names}
        return {index: size for index, size in found.items() if size is not None}

    def sizes(self, indexes):
        """The same, for some objects only."""
        found = {index: stat(self.data, self.object_name(index)) for index in indexes}
        return {index: size for index, size in found.items() if size is not None}

    def sizes_at(self, snapshot, count):
        """The same, as they were in a snapshot, for the first `count` objects."""
        self.data.set_read(snapshot)
        try:
            return self.sizes(range(count))
        finally:
            self.data.set_read(0xFFFFFFFFFFFFFFFE)

    def object_map(self, snapshot=None):
        """The state of each object, in the image as it is or at a snapshot; None without a map."""
        try:
            data = self.meta.read(f"rbd_object_map.{self.id}" + ("" if snapshot is None else f".{snapshot:016x}"), 1 << 20)
        except rados.ObjectNotFound:
            return None
        count = number(data[10:18])
        return [data[18 + index // 4] >> 6 - index % 4 * 2 & 3 for index in range(count)]

    def _rank(self, snapshot):
        """Its place among all ids that this image ever had."""
        return sorted(self.seen).index(snapshot) + 1 if snapshot in self.seen else (0 if snapshot == 0 else -1)

    def _header1(self):
        data = self.meta.read(f"{self.name}.rbd", 1 << 20)
        text, block, sig, version, order, crypt, comp, _ = struct.unpack_from("<40s24s4s8sBBBB", data)
        size, sequence, count, reserved, names = struct.unpack_from("<QQIIQ", data, 0x50)
        snapshots = [struct.unpack_from("<QQ", data, 0x70 + 16 * i) for i in range(count)]
        rest = data[0x70 + 16 * count:]
        return {"text": text, "block_name": block.rstrip(b"\0"), "signature": sig, "version": version, "order": order, "crypt": crypt,
                "compression": comp, "size": size, "snap_seq": sequence, "reserved": reserved, "names_length": names,
                "names": rest[:names], "rest": rest[names:], "snapshots": snapshots}

    def header(self):
        """The header as a comparable dictionary, and the ids of the snapshots by name."""
        if self.form == 1:
            header = self._header1()
            ids = [entry[0] for entry in header["snapshots"]]
            names = [name.decode() for name in header["names"].split(b"\0")[:-1]]
            self.seen.update(ids)
            header["snapshots"] = [(self._rank(one), size) for one, size in header["snapshots"]]
            header["snap_seq"] = self._rank(header["snap_seq"])
            del header["block_name"]
            return header, dict(zip(names, ids))
        raw = omap(self.meta, self.header_name)
        ids, records = {}, {}
        for key in [key for key in raw if key.startswith("snapshot_")]:
            one, name, record = self._record(raw.pop(key))
            ids[name] = one
            records[name] = record
        self.seen.update(ids.values())
        header = {key: value for key, value in raw.items() if not key.endswith("_timestamp")}
        # What is absent is nought.
        for key in ("flags", "op_features", "snap_seq"):
            header[key] = number(header.get(key, b""))
        header["snap_seq"] = self._rank(header["snap_seq"])
        for key in ("size", "features", "order", "stripe_unit", "stripe_count"):
            if key in header:
                header[key] = number(header[key])
        header["object_prefix"] = header["object_prefix"].replace(self.id.encode(), b"ID")[4:]
        header["snapshots"] = {name: (self._rank(ids[name]), *record) for name, record in records.items()}
        return header, ids

    @staticmethod
    def _record(data):
        """Of a snapshot's record: id, name, and (size, protection, flags, kind, children)."""
        version, _, _, one, length = struct.unpack_from("<BBIQI", data)
        at = 18 + length
        name = data[18:at].decode()
        size, protection, flags = struct.unpack_from("<QBQ", data, at)
        at += 17
        _, _, payload, kind = struct.unpack_from("<BBII", data, at)
        # A timestamp follows, and how many children it has.
        at += 6 + payload + 8
        children = number(data[at:at + 4])
        return one, name, (size, protection, flags, kind, children, version)
