#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A private Ceph cluster on the loopback address, run from a private Debian tree; this machine's own Ceph is never touched.
#
#   scripts/ceph.sh start [--osds N] [--store memstore|bluestore] [--mgr]
#                                         start it; a new one gets 1 OSD with memstore. --mgr adds a manager, which only
#                                         quotas, `ceph df` and `ceph pg` need
#   scripts/ceph.sh pool NAME [--erasure] [--size N]
#                                         make a pool for images; --erasure: for their data only, 2+1, bluestore on 3 OSDs
#   scripts/ceph.sh namespace POOL NAME   make a namespace for images in a pool
#   scripts/ceph.sh cli ARG...            run the ceph command line tool against it
#   scripts/ceph.sh rbd ARG...            the same with rbd
#   scripts/ceph.sh rados ARG...          the same with rados
#   scripts/ceph.sh env                   print lines for eval: CEPH_CONF and RBD_FORCE_ALLOW_V1
#   scripts/ceph.sh pids                  print every process of this instance
#   scripts/ceph.sh osd-pid N             print the process of one OSD (from 0)
#   scripts/ceph.sh kill-osd N            kill -9 of one OSD
#   scripts/ceph.sh start-osd N           start it again, and wait until it is up (bluestore only: memstore forgets)
#   scripts/ceph.sh stop-osds, cont-osds  let all OSDs hang (SIGSTOP), and go on (SIGCONT)
#   scripts/ceph.sh stop-mon, cont-mon    the same with the monitor
#   scripts/ceph.sh kill-mon, start-mon   kill -9 of the monitor; start it again, and wait until it answers
#   scripts/ceph.sh wait-clean            wait until every placement group is active and clean
#   scripts/ceph.sh stop                  end all of it; pools and data stay for the next start
#   scripts/ceph.sh destroy               the same, and remove pools and data
#
# Variables: QBR_CEPH (name of the instance, default "default"; any number can run side by side, each in
# build/servers/ceph/NAME), QBR_CEPH_SUITE (bookworm: Ceph 16, trixie: 18; default: this machine's release; read when an
# instance is first started).
#
# Users, all with their keys in the keyring that ceph.conf names: client.admin; client.vm, with what Ceph's documentation gives
# to a virtual machine (profile rbd); client.nobl, which may do everything but put other clients on the blocklist.
# The tools run in the tree: of this machine's files they see the checkout and the build folder. Pools keep as many
# copies as there are OSDs, at most three, and go on while one of three is gone; so do those with --erasure.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HOST=127.0.0.1
# The monitor has the first two ports of a block of this size, the other daemons find theirs in the rest.
PORT_BLOCK=200

name=${QBR_CEPH:-default}
[[ $name =~ ^[A-Za-z0-9_-]+$ ]] || die "QBR_CEPH must be a plain name, not '$name'"
dir=$QBR_BUILD/servers/ceph/$name
conf=$dir/ceph.conf

usage() {
    sed -n '5,26s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

load() {
    [[ -f $dir/conf && -f $dir/port ]] || return 1
    # shellcheck source=/dev/null
    source "$dir/conf"
    port=$(< "$dir/port")
}

need_instance() { load || die "there is no Ceph '$name' yet: scripts/ceph.sh start"; }

need_running() {
    need_instance
    daemon_pid "$dir/pid/mon.a" > /dev/null || die "the monitor of '$name' is not running: scripts/ceph.sh start"
}

tree() { "$QBR_TOP/scripts/in-root" "$suite" "CEPH_CONF=$conf" RBD_FORCE_ALLOW_V1=1 "$@"; }

osd_pid() {
    [[ $1 =~ ^[0-9]$ && $1 -lt $osds ]] || die "there is no OSD '$1': they are 0 to $((osds - 1))"
    daemon_pid "$dir/pid/osd.$1"
}

# Every process of this instance.
instance_pids() {
    local file
    for file in "$dir"/pid/*; do
        [[ $file == *.tmp ]] || daemon_pid "$file" || true
    done
}

# --- set-up --------------------------------------------------------------------------------------------------------

# The first port of a block in which nobody listens, and that no other instance has: those may be about to start.
free_block() {
    local try first used
    used=$(
        ss -Htln | awk '{ sub(/.*:/, "", $4); print $4 }'
        cat "$QBR_BUILD"/servers/ceph/*/port 2> /dev/null || true
    )
    for ((try = 0; try < 100; try++)); do
        first=$((10000 + RANDOM % 50 * PORT_BLOCK))
        if ! awk -v a="$first" -v b=$((first + PORT_BLOCK)) '$1 >= a && $1 < b { found = 1 } END { exit !found }' <<< "$used"; then
            echo "$first"
            return
        fi
    done
    die "no block of $PORT_BLOCK free ports was found"
}

write_settings() {
    local word
    for word in suite store osds fsid mgr run; do
        printf '%s=%q\n' "$word" "${!word}"
    done > "$dir/conf.new"
    mv "$dir/conf.new" "$dir/conf"
}

# A block of ports is taken by writing it down, one instance at a time.
choose_ports() {
    (
        take_lock ceph-ports
        block=$(free_block)
        echo "$block" > "$dir/port"
    )
    port=$(< "$dir/port")
}

mon_addresses() { echo "[v2:$HOST:$port/0,v1:$HOST:$((port + 1))/0]"; }

write_conf() {
    local size=$osds min_size=1
    ((size <= 3)) || size=3
    ((size < 3)) || min_size=2
    mkdir -p "$dir/pid" "$dir/log" "$dir/crash" "$run"
    cat > "$conf.new" << END
[global]
fsid = $fsid
mon host = $(mon_addresses)
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = $size
osd pool default min size = $min_size
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
ms bind ipv6 = false
ms bind port min = $((port + 2))
ms bind port max = $((port + PORT_BLOCK - 1))
log to stderr = false
err to stderr = false
log to syslog = false
log max recent = 10
crash dir = $dir/crash
debug none = 0/0
debug asok = 0/0
debug auth = 0/0
debug finisher = 0/0
debug monc = 0/0
debug mgrc = 0/0
debug ms = 0/0
debug objectcacher = 0/0
debug objecter = 0/0
debug rados = 0/0
debug rbd = 0/0
debug timer = 0/0
debug tp = 0/0

[client]
keyring = $dir/keyring
admin socket =
log file = $dir/log/clients.log

[mon]
mon data = $dir/mon
keyring = $dir/mon/keyring
public addr = $HOST
admin socket = $run/\$name.asok
log file = $dir/log/\$name.log
mon cluster log file = $dir/log/cluster.log
mon cluster log to stderr = false
mon allow pool delete = true
mon allow pool size one = true
auth allow insecure global id reclaim = false
mon max pg per osd = 2000
mon warn on pool no redundancy = false
mon warn on pool no app = false
mon warn on insecure global id reclaim = false
mon warn on osd down out interval zero = false
mon pg warn min per osd = 0
mon data avail warn = 2
mon data avail crit = 1
mon osd down out interval = 0
mon osd min down reporters = 1
mon osd reporter subtree level = osd
mon osd adjust heartbeat grace = false
paxos propose interval = 0.05
debug mon = 0/0
debug rocksdb = 0/0
debug paxos = 0/0

[mgr]
mgr data = $dir/mgr
keyring = $dir/mgr/keyring
public addr = $HOST
admin socket = $run/\$name.asok
log file = $dir/log/\$name.log
mgr stats period = 1
mgr tick period = 1
debug mgr = 0/0

[osd]
osd data = $dir/osd.\$id
keyring = $dir/osd.\$id/keyring
public addr = $HOST
cluster addr = $HOST
admin socket = $run/\$name.asok
log file = $dir/log/\$name.log
osd objectstore = $store
osd op queue = wpq
# A memstore is written down when it is unmounted, which a fast shutdown leaves out.
osd fast shutdown = $([[ $store == memstore ]] && echo false || echo true)
osd fast shutdown notify mon = true
osd scrub min interval = 31536000
osd scrub max interval = 31536000
osd deep scrub interval = 31536000
osd recovery sleep = 0
osd recovery delay start = 0
osd memory target = 939524096
memstore device bytes = 17179869184
bluestore block create = true
bluestore block size = 8589934592
bluestore cache autotune = false
bluestore cache size = 100000000
debug bdev = 0/0
debug bluefs = 0/0
debug bluestore = 0/0
debug filer = 0/0
debug heartbeatmap = 0/0
debug memdb = 0/0
debug memstore = 0/0
debug objclass = 0/0
debug osd = 0/0
debug rocksdb = 0/0
END
    mv "$conf.new" "$conf"
    : >> "$dir/log/clients.log"
}

# Make keys, the monitor's store and the OSDs' ones. Nothing runs yet.
make_stores() {
    local i
    rm -rf "$dir/mon" "$dir/mgr" "$dir"/osd.*
    mkdir -p "$dir/mon" "$dir/mgr"
    for ((i = 0; i < osds; i++)); do
        mkdir "$dir/osd.$i"
        cat /proc/sys/kernel/random/uuid > "$dir/osd.$i/uuid"
    done
    # shellcheck disable=SC2016
    run_logged "ceph-$name" tree bash -c '
        set -e
        dir=$1 fsid=$2 osds=$3 addresses=$4
        key() {
            ceph-authtool --create-keyring "$1" --gen-key -n "${@:2}"
            chmod 600 "$1"
        }
        cd "$dir"
        key keys.mon mon. --cap mon "allow *"
        key mgr/keyring mgr.a --cap mon "allow profile mgr" --cap osd "allow *"
        key keyring.admin client.admin --cap mon "allow *" --cap osd "allow *" --cap mgr "allow *" --cap mds "allow *"
        key keyring.vm client.vm --cap mon "profile rbd" --cap osd "profile rbd" --cap mgr "profile rbd"
        key keyring.nobl client.nobl --cap mon "allow r" --cap osd "allow *"
        for ((i = 0; i < osds; i++)); do
            key "osd.$i/keyring" "osd.$i" --cap mon "allow profile osd" --cap mgr "allow profile osd" --cap osd "allow *"
        done
        ( umask 077
          cat keyring.* > keyring
          cat keys.mon mgr/keyring keyring osd.*/keyring > keys.initial )
        rm keyring.* keys.mon
        monmaptool --create --clobber --fsid "$fsid" --addv a "$addresses" monmap
        ceph-mon -i a --mkfs --monmap monmap --keyring keys.initial &
        pids=($!)
        for ((i = 0; i < osds; i++)); do
            ceph-osd -i "$i" --no-mon-config --mkfs --monmap monmap --osd-uuid "$(< "osd.$i/uuid")" &
            pids+=($!)
        done
        status=0
        for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
        rm keys.initial
        exit "$status"' bash "$dir" "$fsid" "$osds" "$(mon_addresses)" ||
        die "the cluster could not be made; see $dir/log"
    # Whoever asked for it with sudo may use it.
    chown "${SUDO_UID:-0}:${SUDO_GID:-0}" "$dir/keyring" "$dir/log/clients.log"
    rm -f "$dir/known"
}

# Another program took our port while we were down: the next block, also in the monitor's map.
move_ports() {
    choose_ports
    write_conf
    # shellcheck disable=SC2016
    run_logged "ceph-$name" tree bash -c '
        monmaptool --create --clobber --fsid "$2" --addv a "$3" "$1/monmap" && ceph-mon -i a --inject-monmap "$1/monmap"' \
        bash "$dir" "$fsid" "$(mon_addresses)" || die "the monitor's map could not be changed"
}

# --- asking the cluster --------------------------------------------------------------------------------------------

# One Python process does what would be many starts of the ceph tool.
admin() {
    tree python3 - "$@" << 'END'
import errno, json, os, sys, time
import rados, rbd

def fail(text):
    sys.exit("error: " + text)

class Refused(Exception):
    pass

cluster = rados.Rados(conffile=os.environ["CEPH_CONF"], rados_id="admin",
                      conf={"mon_client_hunt_interval": "0.1", "client_mount_timeout": "60", "rados_mon_op_timeout": "60"})

def mon(prefix, data=b"", **args):
    code, out, text = cluster.mon_command(json.dumps({"prefix": prefix, "format": "json", **args}), data)
    if code:
        raise Refused(f"ceph {prefix}: {text or os.strerror(-code)}")
    return json.loads(out) if out.strip() else None

def until(what, check, seconds=120):
    end = time.monotonic() + seconds
    while True:
        missing = check()
        if not missing:
            return
        if time.monotonic() > end:
            fail(f"{what}: after {seconds} seconds still waiting for {missing}")
        time.sleep(0.05)

def osds():
    return {o["osd"]: o for o in mon("osd dump")["osds"]}

def new_osds(*uuids):
    for number, uuid in enumerate(uuids):
        mon("osd new", uuid=uuid, id=number)

def epochs():
    print(" ".join(str(o["up_from"]) for _, o in sorted(osds().items())))

def wait_up(*since):
    """Each argument is OSD:EPOCH, where EPOCH is when it last came up before it was started."""
    def missing():
        now = osds()
        return [w for w in since for n, e in [map(int, w.split(":"))] if not now[n]["up"] or now[n]["up_from"] == e]
    until("OSDs come up", missing)

def states():
    found = {}
    dump = mon("osd dump")
    # What a placement group says counts only once it knows of the last OSD that came or went.
    known = max(max(o["up_from"], o["down_at"]) for o in dump["osds"])
    for pool in dump["pools"]:
        for seed in range(pool["pg_num"]):
            pg = f"{pool['pool']}.{seed:x}"
            try:
                code, out, text = cluster.pg_command(pg, json.dumps({"prefix": "query", "pgid": pg, "format": "json"}), b"",
                                                     timeout=5)
                answer = json.loads(out) if code == 0 else {"epoch": known, "state": text or os.strerror(-code)}
                found[pg] = answer["state"] if answer["epoch"] >= known else "behind"
            except rados.Error as error:
                found[pg] = str(error)
    return found

def wait_clean():
    def missing():
        return {pg: s for pg, s in states().items() if not {"active", "clean"} <= set(s.split("+"))}
    until("placement groups become clean", missing)

def pool(name, kind, size):
    if name not in cluster.list_pools():
        if kind == "erasure":
            stores = {o.get("osd_objectstore") for o in mon("osd metadata")}
            if len(osds()) < 3 or stores != {"bluestore"}:
                fail("an erasure-coded pool for image data needs at least 3 OSDs with bluestore: "
                     "scripts/ceph.sh start --osds 3 --store bluestore")
            mon("osd erasure-code-profile set", name="two-plus-one",
                profile=["k=2", "m=1", "crush-failure-domain=osd"])
            mon("osd pool create", pool=name, pg_num=8, pgp_num=8, pool_type="erasure", erasure_code_profile="two-plus-one")
        else:
            mon("osd pool create", pool=name, pg_num=8, pgp_num=8, pool_type="replicated")
    if kind == "erasure":
        mon("osd pool set", pool=name, var="allow_ec_overwrites", val="true")
        # Go on when one of three is gone.
        mon("osd pool set", pool=name, var="min_size", val="2")
        mon("osd pool application enable", pool=name, app="rbd")
        return
    if size:
        more = {"yes_i_really_mean_it": True} if size == "1" else {}
        mon("osd pool set", pool=name, var="size", val=size, **more)
        mon("osd pool set", pool=name, var="min_size", val=str(max(1, int(size) - 1)))
    with cluster.open_ioctx(name) as ioctx:
        rbd.RBD().pool_init(ioctx, True)

def namespace(pool_name, name):
    with cluster.open_ioctx(pool_name) as ioctx:
        if not rbd.RBD().namespace_exists(ioctx, name):
            rbd.RBD().namespace_create(ioctx, name)

def wait_mgr():
    until("the manager comes up", lambda: [] if mon("mgr dump")["available"] else ["it"])
    # Some of its modules do not work in Debian 13; none is needed.
    mon("health mute", code="MGR_MODULE_DEPENDENCY", sticky=True)

operations = {f.__name__: f for f in [new_osds, epochs, wait_up, wait_mgr, wait_clean, pool, namespace]}
operations["ping"] = lambda: None
try:
    cluster.connect()
    operations[sys.argv[1]](*sys.argv[2:])
except (Refused, rados.Error, rbd.Error) as error:
    fail(str(error))
finally:
    # Ending with librados's threads at work crashes once in a hundred times.
    cluster.shutdown()
END
}

# --- daemons -------------------------------------------------------------------------------------------------------

# Start a daemon, named as Ceph does: mon.a, osd.0, mgr.a.
daemon() {
    local id=$1
    if daemon_pid "$dir/pid/$id" > /dev/null; then return; fi
    # Debian 13's OSD looks for its classes in a relative folder.
    start_daemon "$dir/pid/$id" "$dir/log/$id.start" "$QBR_TOP/scripts/in-root" "$suite" env -C / \
        "ceph-${id%.*}" -f -i "${id#*.}" -c "$conf" || die "$id of '$name' did not start"
}

# Wait until somebody listens at the monitor's port; a client's own tries are further apart.
start_mon() {
    local end=$((SECONDS + 60))
    daemon mon.a
    until [[ -n $(ss -Htln "sport = :$port") ]]; do
        daemon_pid "$dir/pid/mon.a" > /dev/null || {
            tail -n 20 "$dir/log/mon.a.start" "$dir/log/mon.a.log" 2> /dev/null | sed 's/^/    | /' >&2
            die "the monitor ended at once"
        }
        ((SECONDS < end)) || die "the monitor does not listen; see $dir/log/mon.a.log"
        sleep 0.05
    done
}

# Start these OSDs, and wait until they are up.
start_osds() {
    local i since=() before
    before=$(admin epochs)
    read -ra before <<< "$before"
    for i; do
        if ! osd_pid "$i" > /dev/null; then
            daemon "osd.$i"
            since+=("$i:${before[i]}")
        fi
    done
    ((${#since[@]})) || return 0
    admin wait_up "${since[@]}" || {
        tail -qn 20 "$dir"/log/osd.*.start "$dir"/log/osd.*.log 2> /dev/null | sed 's/^/    | /' >&2
        die "OSDs of '$name' did not come up"
    }
}

start() {
    local i uuids=() all=() want_osds='' want_store='' want_mgr=''
    while (($#)); do
        case $1 in
        --osds) want_osds=${2:-} ;;
        --store) want_store=${2:-} ;;
        --mgr)
            want_mgr=1
            shift
            continue
            ;;
        *) usage ;;
        esac
        shift 2 || usage
    done
    [[ ${want_osds:-1} =~ ^[1-9]$ ]] || die "--osds wants a number from 1 to 9"
    case ${want_store:-memstore} in memstore | bluestore) ;; *) die "--store wants memstore or bluestore" ;; esac
    if load; then
        [[ ${want_osds:-$osds} == "$osds" && ${want_store:-$store} == "$store" ]] ||
            die "the Ceph '$name' has $osds OSDs with $store; for another kind, destroy it or choose another name (QBR_CEPH)"
        [[ -z $want_mgr ]] || mgr=1
    else
        suite=${QBR_CEPH_SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
        [[ $suite == bookworm || $suite == trixie ]] || suite=trixie
        osds=${want_osds:-1} store=${want_store:-memstore} mgr=$want_mgr fsid=$(< /proc/sys/kernel/random/uuid) run=$dir/run
        # The path of a Unix socket holds 107 bytes. /dev is the same inside and outside of a tree.
        ((${#run} <= 80)) || run=/dev/shm/ceph-$(cksum <<< "$dir" | cut -d' ' -f1)
    fi
    mkdir -p "$dir"
    write_settings
    [[ -n ${port:-} ]] || choose_ports
    for ((i = 0; i < osds; i++)); do all+=("$i"); done
    if ! daemon_pid "$dir/pid/mon.a" > /dev/null; then
        "$QBR_TOP/scripts/root.sh" create "$suite"
        step "starting a private Ceph ($suite, $osds $store)"
        [[ -z $(ss -Htln "sport = :$port or sport = :$((port + 1))") ]] || [[ -n $(instance_pids) ]] ||
            if [[ -f $dir/complete ]]; then move_ports; else choose_ports; fi
        write_conf
        if [[ $store == memstore && -f $dir/running && -z $(instance_pids) ]]; then
            say "what was in it is lost, as its memory was never written down"
            rm -f "$dir/complete"
        fi
        if [[ ! -f $dir/complete ]]; then
            make_stores
            touch "$dir/complete"
        fi
        touch "$dir/running"
        start_mon
    fi
    if [[ ! -f $dir/known ]]; then
        for i in "${all[@]}"; do uuids+=("$(< "$dir/osd.$i/uuid")"); done
        admin new_osds "${uuids[@]}"
        touch "$dir/known"
    fi
    [[ -z $mgr ]] || daemon mgr.a
    start_osds "${all[@]}"
    [[ -z $mgr ]] || admin wait_mgr || die "the manager of '$name' did not come up; see $dir/log/mgr.a.log"
}

stop() {
    local pids file ok=1
    mapfile -t pids < <(instance_pids)
    ((${#pids[@]} == 0)) || kill -CONT "${pids[@]}" 2> /dev/null || true
    pids=()
    for file in "$dir"/pid/osd.*; do
        if [[ $file != *.tmp ]] && pid=$(daemon_pid "$file"); then pids+=("$pid"); fi
    done
    # The OSDs first: they say goodbye to the monitor.
    if ((${#pids[@]})); then
        ((${#pids[@]} == osds)) || ok=
        kill -TERM "${pids[@]}" 2> /dev/null || true
        if ! wait_gone 60 "${pids[@]}"; then
            ok=
            kill -KILL "${pids[@]}" 2> /dev/null || true
            wait_gone 10 "${pids[@]}" || die "these processes do not end: ${pids[*]}"
        fi
    else
        ok=
    fi
    rm -f "$dir"/pid/osd.*
    stop_daemon "$dir/pid/mgr.a"
    stop_daemon "$dir/pid/mon.a"
    [[ -z $ok ]] || rm -f "$dir/running"
}

# Send SIGSTOP and wait until it has had its effect, or SIGCONT.
signal() {
    local what=$1 pid stat
    shift
    kill "-$what" "$@"
    [[ $what == STOP ]] || return 0
    for pid; do
        until { read -r stat < "/proc/$pid/stat"; } 2> /dev/null && [[ ${stat##*) } == T* ]]; do
            pid_alive "$pid" || die "process $pid has ended"
        done
    done
}

kill_daemon() {
    local pid
    pid=$(daemon_pid "$dir/pid/$1") || die "$1 of '$name' is not running"
    kill -KILL "$pid"
    wait_gone 10 "$pid" || die "$1 of '$name' (process $pid) does not end"
    rm -f "$dir/pid/$1"
}

# --- commands ------------------------------------------------------------------------------------------------------

(($# >= 1)) || usage
command=$1
case $command in
env) ;;
start | pool | namespace | cli | rbd | rados | pids | osd-pid | kill-osd | start-osd | stop-osds | cont-osds | *-mon | wait-clean | \
    stop | destroy) need_root "$@" ;;
*) usage ;;
esac
shift
case $command in
# These change the instance, one at a time.
start | pool | kill-osd | start-osd | *-mon | stop | destroy) take_lock "ceph-$name" ;;
esac
case $command in
start)
    start "$@"
    ;;
pool)
    (($# >= 1)) || usage
    pool=$1 kind=replicated size=''
    [[ $pool =~ ^[A-Za-z0-9_.-]+$ && $pool != -* ]] || die "not a plain pool name: $pool"
    shift
    while (($#)); do
        case $1 in
        --erasure) kind=erasure ;;
        --size)
            [[ ${2:-} =~ ^[1-9]$ ]] || usage
            size=$2
            shift
            ;;
        *) usage ;;
        esac
        shift
    done
    need_running
    admin pool "$pool" "$kind" "$size"
    ;;
namespace)
    (($# == 2)) || usage
    need_running
    admin namespace "$@"
    ;;
cli | rbd | rados)
    need_running
    [[ $command != cli ]] || command=ceph
    tree "$command" "$@"
    ;;
env)
    need_instance
    printf 'export CEPH_CONF=%q\n' "$conf"
    echo 'export RBD_FORCE_ALLOW_V1=1'
    ;;
pids)
    instance_pids
    ;;
osd-pid)
    (($# == 1)) || usage
    need_instance
    osd_pid "$1" || die "OSD $1 is not running"
    ;;
kill-osd)
    (($# == 1)) || usage
    need_instance
    osd_pid "$1" > /dev/null || die "OSD $1 is not running"
    kill_daemon "osd.$1"
    ;;
start-osd)
    (($# == 1)) || usage
    need_running
    [[ $store == bluestore ]] || osd_pid "$1" > /dev/null || die "OSD $1 has a memstore: what was in it is gone, and it cannot come back"
    start_osds "$1"
    ;;
stop-osds | cont-osds)
    need_instance
    pids=()
    for ((i = 0; i < osds; i++)); do
        if pid=$(osd_pid "$i"); then pids+=("$pid"); fi
    done
    ((${#pids[@]})) || die "no OSD of '$name' is running"
    signal "$([[ $command == stop-osds ]] && echo STOP || echo CONT)" "${pids[@]}"
    ;;
stop-mon | cont-mon)
    need_instance
    pid=$(daemon_pid "$dir/pid/mon.a") || die "the monitor of '$name' is not running"
    signal "$([[ $command == stop-mon ]] && echo STOP || echo CONT)" "$pid"
    ;;
kill-mon)
    need_instance
    kill_daemon mon.a
    ;;
start-mon)
    need_instance
    start_mon
    admin ping
    ;;
wait-clean)
    need_running
    admin wait_clean
    ;;
stop)
    ! load || stop
    ;;
destroy)
    if load; then
        stop
        [[ $run == "$dir"/* ]] || rm -rf "$run"
    fi
    rm -rf --one-file-system "$dir"
    ;;
esac
