# SPDX-License-Identifier: GPL-2.0-or-later
"""What the translators of the client are told to do, as the library itself logs it."""

from lib.harness import check, test


def log_of(t, level):
    """What the library writes at a log level while an image is looked at."""
    log = t.path("client.log")
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.img("info", "--image-opts", f"driver=gluster,volume=plain,path={t.image()},debug={level},logfile={log},"
          f"server.0.type=inet,server.0.host={t.gluster.host},server.0.port={t.gluster.port}")
    with open(log, encoding="utf-8", errors="replace") as lines:
        return lines.read()


@test(core=True)
def data_that_could_not_be_written_is_kept_for_the_next_fsync(t):
    log = log_of(t, 8)
    found = [line for line in log.splitlines() if "resync-failed-syncs-after-fsync" in line]
    check(any("write-behind" in line and "using set value on" in line for line in found), found)


@test(core=True)
def log_level_holds_although_the_volume_has_another_one(t):
    # The volume's own setting is INFO by default, and there is something to inform about at every start.
    check(log_of(t, 4) == "", "a successful run logs nothing at the level of errors")
    check(" I [" in log_of(t, 7), "the level of information is the one that was asked for")


@test(core=True)
def requests_take_no_hop_to_another_thread_of_the_client(t):
    log = log_of(t, 8)
    found = [line for line in log.splitlines() if "io-threads" in line and "pass-through" in line]
    check(any("using set value true" in line for line in found) and "scaled threads" not in log, found)
