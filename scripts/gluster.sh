#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A private Gluster on the loopback address, run from a private Debian tree; this machine's own Gluster is never touched.
#
#   scripts/gluster.sh start                       start glusterd (and the bricks of the volumes there are)
#   scripts/gluster.sh volume NAME TYPE            make and start a volume; TYPE: plain, distribute (2 bricks), replica3,
#                                                  arbiter (2+1), disperse (2+1), shard (one brick, 4 MiB shards)
#   scripts/gluster.sh volume-set NAME KEY VALUE   set an option of a volume
#   scripts/gluster.sh volume-delete NAME          stop and remove a volume with its data
#   scripts/gluster.sh bricks NAME                 print the brick folders, one per line
#   scripts/gluster.sh brick-pids NAME             print the brick processes, one per line, "-" for one that is dead
#   scripts/gluster.sh kill-brick NAME INDEX       kill -9 of one brick (INDEX from 0)
#   scripts/gluster.sh restart-bricks NAME         start the bricks that are dead, and wait for them
#   scripts/gluster.sh stop-glusterd               end glusterd only; bricks and clients stay
#   scripts/gluster.sh start-glusterd              start it again
#   scripts/gluster.sh cli ARG...                  run the gluster command line tool against it
#   scripts/gluster.sh env [NAME]                  print lines for eval: GLUSTER_URL, GLUSTER_SOCKET and so on (volume NAME, or vol)
#   scripts/gluster.sh host-port                   print HOST:PORT
#   scripts/gluster.sh pids                        print every process of this instance
#   scripts/gluster.sh stop                        end all of it; volumes and data stay for the next start
#   scripts/gluster.sh destroy                     the same, and remove volumes and data
#
# Variables: QBR_GLUSTER (name of the instance, default "default"; any number can run side by side, each in
# build/servers/gluster/NAME), QBR_GLUSTER_SUITE (bookworm: Gluster 10.3, trixie: 11.1; default: this machine's release; read
# when an instance is first started).
#
# How it stays private: glusterd gets a volume file with its own folders, sockets, address and ports. Three things that
# glusterd cannot be told are done in its own mount namespace or in the volume files it writes:
# - it refuses bricks on a host that is literally loopback, so the host is called "private-brick", a name that only exists in
#   its /etc/hosts, and a filter (Gluster runs those over every volume file) writes 127.0.0.1 for the clients;
# - clients ask port 24007 for a brick's port unless the volume file names another: the same filter adds it;
# - bricks and the self-heal daemon ask port 24007 for their volume file: they are started through a wrapper that
#   passes the right port.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HOST=127.0.0.1
BRICK_HOST=private-brick
# glusterd and its bricks take their ports from one block of this size.
PORT_BLOCK=200

name=${QBR_GLUSTER:-default}
[[ $name =~ ^[A-Za-z0-9_-]+$ ]] || die "QBR_GLUSTER must be a plain name, not '$name'"
dir=$QBR_BUILD/servers/gluster/$name
# The programs run from a copy, and a process is known by the file it runs: no other instance shares it.
real=$dir/sbin/glusterfsd

usage() {
    sed -n '5,21s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

load() {
    # shellcheck source=/dev/null
    [[ -f $dir/conf ]] && source "$dir/conf"
}

need_instance() { load || die "there is no Gluster '$name' yet: scripts/gluster.sh start"; }

need_running() {
    need_instance
    daemon_pid "$dir/glusterd.pid" > /dev/null || die "glusterd of '$name' is not running: scripts/gluster.sh start"
}

# The gluster tool, in the mount namespace of glusterd (its helpers look for the socket in /run).
gcli() {
    local pid
    pid=$(daemon_pid "$dir/glusterd.pid") || return 1
    nsenter --target "$pid" --mount --root --wd -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LC_ALL=C.UTF-8 gluster --mode=script --log-file="$dir/log/cli.log" "$@"
}

# Every process of this instance: glusterd, bricks, self-heal daemon.
instance_pids() {
    local id pid
    id=$(stat -L -c %d:%i "$real" 2> /dev/null) || return 0
    for pid in /proc/[0-9]*; do
        [[ $(stat -L -c %d:%i "$pid/exe" 2> /dev/null) != "$id" ]] || echo "${pid#/proc/}"
    done
}

# The first port of a block in which nobody listens, below the kernel's range for outgoing connections.
free_block() {
    local try first used
    used=$(ss -Htln | awk '{ sub(/.*:/, "", $4); print $4 }')
    for ((try = 0; try < 100; try++)); do
        first=$((20000 + RANDOM % 60 * PORT_BLOCK))
        if ! awk -v a="$first" -v b=$((first + PORT_BLOCK)) '$1 >= a && $1 < b { found = 1 } END { exit !found }' <<< "$used"; then
            echo "$first"
            return
        fi
    done
    die "no block of $PORT_BLOCK free ports was found"
}

write_conf() {
    {
        printf 'suite=%q\n' "$suite"
        printf 'port=%q\n' "$port"
        printf 'run=%q\n' "$run"
    } > "$dir/conf.new"
    mv "$dir/conf.new" "$dir/conf"
}

# Bricks need trusted.* extended attributes, and a file system that Gluster works on.
brick_store() {
    local bricks=$dir/bricks
    mkdir -p "$bricks"
    ! mountpoint -q "$bricks" || return 0
    case ${QBR_BRICK_STORE:-}:$(stat -f -c %T "$bricks") in
    :ext2/ext3 | :xfs | :btrfs)
        touch "$dir/.xattr"
        if "$QBR_TOP/scripts/in-root" "$suite" setfattr -n trusted.test -v 1 "$dir/.xattr" 2> /dev/null; then
            rm -f "$dir/.xattr"
            return
        fi
        rm -f "$dir/.xattr"
        ;;
    esac
    if [[ ! -f $dir/bricks.img ]]; then
        truncate -s "${QBR_BRICK_SIZE:-20G}" "$dir/bricks.img"
        run_logged "gluster-$name" mkfs.ext4 -q -F "$dir/bricks.img" || die "mkfs.ext4 failed"
    fi
    if mount -o loop,noatime "$dir/bricks.img" "$bricks" 2> /dev/null; then return; fi
    # No loop devices (a container): keep the bricks in memory. They are gone after stop, and so are the volumes.
    rm -rf "$dir/bricks.img" "$dir/work"
    mount -t tmpfs -o mode=755 private-bricks "$bricks" ||
        die "bricks need a file system with trusted.* extended attributes: $bricks has none, and nothing can be mounted there"
}

write_files() {
    mkdir -p "$dir/sbin" "$dir/work" "$dir/log/bricks" "$dir/slash-run/gluster" "$run"
    ln -sfn "$run/glusterd.socket" "$dir/slash-run/glusterd.socket"
    local root=$QBR_BUILD/roots/$suite
    if ! cmp -s "$root/usr/sbin/glusterfsd" "$real"; then
        cp "$root/usr/sbin/glusterfsd" "$real.new"
        mv "$real.new" "$real"
    fi
    cat > "$dir/glusterd.vol" << END
volume management
    type mgmt/glusterd
    option working-directory $dir/work
    option run-directory $run
    option logging-directory $dir/log
    option glusterd-sockfile $run/glusterd.socket
    option transport-type socket
    option transport.address-family inet
    option transport.socket.bind-address $HOST
    option transport.socket.listen-port $port
    option transport.socket.keepalive-time 10
    option transport.socket.keepalive-interval 2
    option transport.socket.read-fail-log off
    option ping-timeout 0
    option event-threads 1
    option base-port $((port + 1))
    option max-port $((port + PORT_BLOCK - 1))
end-volume
END
    cat > "$dir/sbin/wrapper" << END
#!/bin/bash
exec -a "\$0" '$real' "\$@" --volfile-server-port=$port
END
    cat > "$dir/sbin/filter" << END
#!/bin/sh
exec sed -i -e '/^ *option remote-port /d' \\
    -e 's/^\( *\)option remote-host .*/\1option remote-host $HOST\n\1option remote-port $port/' "\$1"
END
    printf '%s\n' '127.0.0.1 localhost' "$HOST $BRICK_HOST" > "$dir/hosts"
    # Runs inside the tree, in the mount namespace that glusterd and all its children live in.
    cat > "$dir/sbin/launch" << END
#!/bin/bash
set -e
filters=\$(echo /usr/lib/*/glusterfs/*/xlator)
filters=\${filters%/xlator}/filter
mkdir -p "\$filters"
mount --bind '$dir/slash-run' /run
mount -t tmpfs -o mode=755,size=1m filters "\$filters"
cp '$dir/sbin/filter' "\$filters/"
mount --bind '$dir/hosts' /etc/hosts
mount --bind '$dir/sbin/wrapper' /usr/sbin/glusterfsd
exec -a /usr/sbin/glusterd '$real' -N -f '$dir/glusterd.vol' -l '$dir/log/glusterd.log' -p '$run/glusterd.pid'
END
    chmod 755 "$dir/sbin/wrapper" "$dir/sbin/filter" "$dir/sbin/launch"
}

port_taken() { [[ -n $(ss -Htln "sport = :$port") ]]; }

start_glusterd() {
    local end volume
    if daemon_pid "$dir/glusterd.pid" > /dev/null; then return; fi
    if port_taken; then
        [[ -z $(instance_pids) ]] || die "port $port is taken by another program, and bricks of '$name' still run"
        move_ports
    fi
    rm -f "$run/glusterd.socket"
    for volume in "$dir"/work/vols/*/; do
        [[ ! -d $volume ]] || forget_dead_bricks "$(basename "$volume")"
    done
    start_daemon "$dir/glusterd.pid" "$dir/log/start.log" "$QBR_TOP/scripts/in-root" "$suite" "$dir/sbin/launch" ||
        die "glusterd did not start"
    end=$((SECONDS + 60))
    until [[ -S $run/glusterd.socket ]] && gcli --timeout=10 pool list > /dev/null 2>&1; do
        daemon_pid "$dir/glusterd.pid" > /dev/null || {
            tail -n 20 "$dir/log/start.log" "$dir/log/glusterd.log" 2> /dev/null | sed 's/^/    | /' >&2
            die "glusterd ended at once"
        }
        ((SECONDS < end)) || die "glusterd does not answer; see $dir/log/glusterd.log"
        sleep 0.1
    done
}

# Another program took our port while we were down: the next block, also in the volume files there are.
move_ports() {
    local old=$port
    port=$(free_block)
    write_conf
    write_files
    find "$dir/work" -name '*.vol' -exec sed -i "s/^\( *option remote-port \)$old\$/\1$port/" {} +
}

start() {
    if load; then
        if daemon_pid "$dir/glusterd.pid" > /dev/null; then return; fi
    else
        suite=${QBR_GLUSTER_SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
        [[ $suite == bookworm || $suite == trixie ]] || suite=trixie
        port=$(free_block)
        run=$dir/run
        # The path of a Unix socket holds 107 bytes. /dev is the same inside and outside of a tree.
        ((${#run} <= 80)) || run=/dev/shm/gluster-$(cksum <<< "$dir" | cut -d' ' -f1)
    fi
    "$QBR_TOP/scripts/root.sh" create "$suite"
    step "starting a private Gluster ($suite)"
    mkdir -p "$dir/log"
    write_conf
    brick_store
    write_files
    start_glusterd
    local volume
    for volume in "$dir"/work/vols/*/; do
        [[ ! -d $volume ]] || ! volume_started "$(basename "$volume")" || wait_bricks "$(basename "$volume")"
    done
}

volume_exists() { [[ -d $dir/work/vols/$1 ]]; }
volume_started() { grep -qx status=1 "$dir/work/vols/$1/info" 2> /dev/null; }

brick_count() { sed -n 's/^count=//p' "$dir/work/vols/$1/info"; }

brick_pidfile() {
    local path=$dir/bricks/$1/$2
    path=${path#/}
    echo "$run/vols/$1/$BRICK_HOST-${path//\//-}.pid"
}

# The process of brick $2 of volume $1, if that very process runs.
brick_pid() {
    local pid=''
    { read -r pid < "$(brick_pidfile "$1" "$2")"; } 2> /dev/null || true
    if [[ -n $pid && $(stat -L -c %d:%i "/proc/$pid/exe" 2> /dev/null) == "$(stat -L -c %d:%i "$real")" ]]; then
        echo "$pid"
    else
        echo -
    fi
}

# A brick is ready when it listens and glusterd knows its port.
wait_bricks() {
    local volume=$1 count i end=$((SECONDS + 60)) ready pid
    count=$(brick_count "$volume")
    while :; do
        ready=1
        for ((i = 0; i < count; i++)); do
            pid=$(brick_pid "$volume" "$i")
            { [[ $pid != - ]] && ss -Htlnp 2> /dev/null | grep -qF "pid=$pid,"; } || ready=
        done
        if [[ -n $ready ]] && [[ $(gcli volume status "$volume" --xml 2> /dev/null |
            grep -o '<port>[0-9]*</port>' | grep -vc '<port>0</port>') -ge $count ]]; then
            return
        fi
        ((SECONDS < end)) || die "the bricks of $volume did not come up within a minute; see $dir/log/bricks"
        sleep 0.1
    done
}

volume() {
    local volume=$1 type=$2 bricks=() count=1 words=() i
    [[ $volume =~ ^[A-Za-z0-9_-]+$ ]] || die "not a volume name: $volume"
    case $type in
    plain | shard) ;;
    distribute) count=2 ;;
    replica3) count=3 words=(replica 3) ;;
    arbiter) count=3 words=(replica 2 arbiter 1) ;;
    disperse) count=3 words=(disperse 3 redundancy 1) ;;
    *) die "unknown type of volume '$type': plain, distribute, replica3, arbiter, disperse or shard" ;;
    esac
    if ! volume_exists "$volume"; then
        rm -rf "${dir:?}/bricks/$volume"
        mkdir -p "$dir/bricks/$volume"
        for ((i = 0; i < count; i++)); do
            bricks+=("$BRICK_HOST:$dir/bricks/$volume/$i")
        done
        run_logged "gluster-$name" gcli volume create "$volume" "${words[@]}" "${bricks[@]}" force ||
            die "the volume $volume could not be made"
        if [[ $type == shard ]]; then
            run_logged "gluster-$name" gcli volume set "$volume" features.shard on features.shard-block-size 4MB ||
                die "sharding could not be turned on"
        fi
    fi
    if ! volume_started "$volume"; then
        run_logged "gluster-$name" gcli volume start "$volume" || die "the volume $volume could not be started"
    fi
    wait_bricks "$volume"
}

# glusterd takes a process number in a left-over file for a running brick whenever some process has that number.
forget_dead_bricks() {
    local i
    for ((i = 0; i < $(brick_count "$1"); i++)); do
        [[ $(brick_pid "$1" "$i") != - ]] || rm -f "$(brick_pidfile "$1" "$i")"
    done
}

kill_brick() {
    local pid
    pid=$(brick_pid "$1" "$2")
    [[ $pid != - ]] || die "brick $2 of $1 is not running"
    kill -KILL "$pid"
    wait_gone 10 "$pid" || die "brick $2 of $1 (process $pid) does not end"
}

stop() {
    local pids
    stop_daemon "$dir/glusterd.pid"
    mapfile -t pids < <(instance_pids)
    if ((${#pids[@]})); then
        kill -TERM "${pids[@]}" 2> /dev/null || true
        if ! wait_gone 10 "${pids[@]}"; then
            mapfile -t pids < <(instance_pids)
            kill -KILL "${pids[@]}" 2> /dev/null || true
            wait_gone 10 "${pids[@]}" || die "these processes do not end: ${pids[*]}"
        fi
    fi
    if mountpoint -q "$dir/bricks"; then
        [[ $(stat -f -c %T "$dir/bricks") != tmpfs ]] || rm -rf "$dir/work"
        umount "$dir/bricks"
    fi
}

(($# >= 1)) || usage
command=$1
case $command in
env | host-port | bricks) ;;
start | volume | volume-* | brick-pids | kill-brick | restart-bricks | *-glusterd | cli | pids | stop | destroy) need_root "$@" ;;
*) usage ;;
esac
shift
case $command in
# These change the instance, one at a time.
start | volume | volume-delete | restart-bricks | *-glusterd | stop | destroy) take_lock "gluster-$name" ;;
esac
case $command in
start)
    start
    ;;
volume)
    (($# == 2)) || usage
    need_running
    volume "$@"
    ;;
volume-set)
    (($# == 3)) || usage
    need_running
    run_logged "gluster-$name-set" gcli volume set "$@" || die "volume set $* failed"
    ;;
volume-delete)
    (($# == 1)) || usage
    need_running
    if volume_exists "$1"; then
        ! volume_started "$1" || run_logged "gluster-$name" gcli volume stop "$1" force || die "volume stop $1 failed"
        run_logged "gluster-$name" gcli volume delete "$1" || die "volume delete $1 failed"
        rm -rf "${dir:?}/bricks/$1"
    fi
    ;;
bricks | brick-pids)
    (($# == 1)) || usage
    need_instance
    volume_exists "$1" || die "there is no volume $1"
    for ((i = 0; i < $(brick_count "$1"); i++)); do
        if [[ $command == bricks ]]; then echo "$dir/bricks/$1/$i"; else brick_pid "$1" "$i"; fi
    done
    ;;
kill-brick)
    (($# == 2)) || usage
    need_instance
    kill_brick "$1" "$2"
    ;;
restart-bricks)
    (($# == 1)) || usage
    need_running
    volume_exists "$1" || die "there is no volume $1"
    forget_dead_bricks "$1"
    run_logged "gluster-$name" gcli volume start "$1" force || die "the bricks of $1 could not be started"
    wait_bricks "$1"
    ;;
stop-glusterd)
    need_instance
    stop_daemon "$dir/glusterd.pid"
    ;;
start-glusterd)
    need_instance
    start_glusterd
    ;;
cli)
    need_running
    gcli "$@"
    ;;
env)
    need_instance
    volume=${1:-vol}
    printf 'export GLUSTER_HOST=%s\n' "$HOST"
    printf 'export GLUSTER_PORT=%s\n' "$port"
    printf 'export GLUSTER_SOCKET=%q\n' "$run/glusterd.socket"
    printf 'export GLUSTER_VOLUME=%s\n' "$volume"
    printf 'export GLUSTER_URL=gluster://%s:%s/%s\n' "$HOST" "$port" "$volume"
    ;;
host-port)
    need_instance
    echo "$HOST:$port"
    ;;
pids)
    instance_pids
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
