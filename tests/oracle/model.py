# SPDX-License-Identifier: GPL-2.0-or-later
"""What an image must hold, in memory: only what was written takes space, and a copy costs next to nothing."""

PAGE = 1 << 16
ZEROES = bytes(PAGE)


class Disk:
    """`size` bytes, of which the pages that are not here are zeroes."""

    def __init__(self, size, pages=None):
        self.size = size
        self.pages = {} if pages is None else pages

    def copy(self):
        return Disk(self.size, dict(self.pages))

    def read(self, offset, length):
        """Zeroes beyond the end, like the drivers' reads of an unfinished last sector."""
        out = []
        while length:
            inside = offset % PAGE
            count = min(length, PAGE - inside)
            page = self.pages.get(offset // PAGE, ZEROES)
            out.append(page[inside:inside + count] if count < PAGE else page)
            offset, length = offset + count, length - count
        return b"".join(out)

    def write(self, offset, data):
        self.size = max(self.size, offset + len(data))
        at, left = 0, len(data)
        while at < left:
            number, inside = divmod(offset + at, PAGE)
            count = min(left - at, PAGE - inside)
            page = self.pages.get(number, ZEROES)
            self.pages[number] = page[:inside] + data[at:at + count] + page[inside + count:]
            at += count

    def zero(self, offset, length):
        end = offset + length
        while offset < end:
            number, inside = divmod(offset, PAGE)
            count = min(end - offset, PAGE - inside)
            if count == PAGE:
                self.pages.pop(number, None)
            elif number in self.pages:
                page = self.pages[number]
                self.pages[number] = page[:inside] + bytes(count) + page[inside + count:]
            offset += count

    def write_zeroes(self, offset, length):
        self.zero(offset, length)
        self.size = max(self.size, offset + length)

    def truncate(self, size):
        if size < self.size:
            self.zero(size, self.size - size)
        self.size = size


class Layout:
    """Where the bytes of an image are: objects of `1 << order` bytes; `unit` and `count` of the striping."""

    def __init__(self, order, unit=0, count=1):
        self.object_size = 1 << order
        self.unit, self.count = unit or self.object_size, count
        self.per_object = self.object_size // self.unit

    def place(self, offset):
        """Object, offset in it, and how many bytes lie there in one piece."""
        block, inside = divmod(offset, self.unit)
        stripe, column = divmod(block, self.count)
        group, row = divmod(stripe, self.per_object)
        return group * self.count + column, row * self.unit + inside, self.unit - inside

    def extents(self, offset, length):
        """(object, offset in it, length, [(offset in the image, length)]) of each object that the range touches."""
        found = {}
        while length:
            number, inside, count = self.place(offset)
            count = min(count, length)
            if number in found:
                found[number][1] += count
                found[number][2].append((offset, count))
            else:
                found[number] = [inside, count, [(offset, count)]]
            offset, length = offset + count, length - count
        return [(number, *rest) for number, rest in found.items()]

    def pieces(self, number, size):
        """Which ranges of an image of `size` bytes are in an object."""
        group, column = divmod(number, self.count)
        first = group * self.per_object * self.count + column
        for row in range(self.per_object):
            at = (first + row * self.count) * self.unit
            if at >= size:
                return
            yield at, min(self.unit, size - at)

    def objects(self, offset, length):
        return {extent[0] for extent in self.extents(offset, length)}

    def object_count(self, size):
        if not size:
            return 0
        period = self.object_size * self.count
        # Within the last set the objects that are touched at all.
        begin = (size - 1) // period * period
        return begin // period * self.count + min(self.count, -(-(size - begin) // self.unit))

    def discarded(self, offset, length, granularity=1 << 16):
        """The ranges that a discard of this one makes zeroes: librbd leaves out what is no multiple of 64 KiB in its object."""
        granularity = min(granularity, self.object_size)
        ranges = []
        for _, inside, count, parts in self.extents(offset, length):
            begin, end = inside, inside + count
            if granularity < self.object_size or end < self.object_size:
                begin, end = -(-begin // granularity) * granularity, end // granularity * granularity
            at = inside
            for start, size in parts:
                low, high = max(at, begin), min(at + size, end)
                if low < high:
                    ranges.append((start + low - at, high - low))
                at += size
        return ranges
