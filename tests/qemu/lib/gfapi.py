# SPDX-License-Identifier: GPL-2.0-or-later
"""libgfapi without QEMU: runs inside a tree, `python3 gfapi.py HOST PORT VOLUME COMMAND PATH [ARGUMENT]`.

mkdir PATH; truncate PATH SIZE (makes the file); write PATH TEXT; read PATH (to standard output);
rename PATH PATH.
"""

import ctypes
import os
import sys

O_RDONLY, O_RDWR, O_CREAT = os.O_RDONLY, os.O_RDWR, os.O_CREAT


def main(host, port, volume, command, path, argument=""):
    api = ctypes.CDLL("libgfapi.so.0", use_errno=True)
    for name in ("glfs_new", "glfs_open", "glfs_creat"):
        getattr(api, name).restype = ctypes.c_void_p
    api.glfs_read.restype = api.glfs_write.restype = ctypes.c_ssize_t

    def checked(result):
        if not result or result == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), command)
        return ctypes.c_void_p(result)

    fs = checked(api.glfs_new(volume.encode()))
    api.glfs_set_volfile_server(fs, b"tcp", host.encode(), int(port))
    api.glfs_set_logging(fs, b"/dev/null", 1)
    if api.glfs_init(fs):
        checked(-1)
    name = path.encode()
    if command == "mkdir":
        if api.glfs_mkdir(fs, name, 0o755):
            checked(-1)
        return
    if command == "rename":
        if api.glfs_rename(fs, name, argument.encode()):
            checked(-1)
        return
    if command == "read":
        file = checked(api.glfs_open(fs, name, O_RDONLY))
        buffer = ctypes.create_string_buffer(1 << 20)
        while (got := api.glfs_read(file, buffer, len(buffer), 0)) > 0:
            sys.stdout.buffer.write(buffer.raw[:got])
        sys.stdout.buffer.flush()
    else:
        file = checked(api.glfs_creat(fs, name, O_RDWR | O_CREAT, 0o600))
        if command == "write":
            data = argument.encode()
            if api.glfs_write(file, data, ctypes.c_size_t(len(data)), 0) != len(data):
                checked(-1)
        elif api.glfs_ftruncate(file, ctypes.c_int64(int(argument)), None, None):
            checked(-1)
    if api.glfs_close(file):
        checked(-1)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Ending the library properly takes seconds, and nothing is lost without.
    os._exit(0)
