// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The host services of unit tests: a program without coroutines and without nodes.

use std::ffi::{c_char, c_int, c_void};

use libc::iovec;

use crate::sys::host::{
    BDRVReopenState, BdrvChild, BlockDriverInfo, BlockDriverState, BlockJob, BlockdevCreateOptions, Error,
    ImageInfoSpecific, QDict, QEMUIOVector, QEMUSnapshotInfo, QbrBlocker, QbrChildIo, QbrDisks, QbrFlags,
    QbrLimits, QbrOptionFn, QbrTask, QemuOpts, ReplicationState,
};

macro_rules! absent {
    ($($name:ident($($arg:ident: $kind:ty),*) $(-> $ret:ty)?;)*) => {
        $(#[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $kind),*) $(-> $ret)? {
            $(let _ = $arg;)*
            panic!(concat!(stringify!($name), " is not there in unit tests"));
        })*
    };
}

#[unsafe(no_mangle)]
extern "C" fn qbr_host_in_coroutine() -> bool {
    false
}

absent! {
    qbr_host_co_self() -> QbrTask;
    qbr_host_co_yield();
    qbr_host_co_wake(task: QbrTask);
    qbr_host_bs_state(bs: *mut BlockDriverState) -> *mut *mut c_void;
    qbr_host_reopen_state(state: *mut BDRVReopenState) -> *mut *mut c_void;
    qbr_host_reopen_bs(state: *mut BDRVReopenState) -> *mut BlockDriverState;
    qbr_host_reopen_flags(state: *mut BDRVReopenState) -> c_int;
    qbr_host_bs_name(bs: *mut BlockDriverState) -> *const c_char;
    qbr_host_bs_length(bs: *mut BlockDriverState) -> i64;
    qbr_host_bs_is_inactive(bs: *mut BlockDriverState) -> bool;
    qbr_host_bs_set_limits(bs: *mut BlockDriverState, limits: *const QbrLimits);
    qbr_host_apply_auto_read_only(bs: *mut BlockDriverState, reason: *const c_char, errp: *mut *mut Error) -> c_int;
    qbr_host_qdict_take(options: *mut QDict, key: *const c_char, found: QbrOptionFn, opaque: *mut c_void);
    qbr_host_create_options_visit(options: *mut BlockdevCreateOptions, found: QbrOptionFn, opaque: *mut c_void);
    qbr_host_opts_take(opts: *mut QemuOpts, key: *const c_char) -> *mut c_char;
    qbr_host_opts_take_size(opts: *mut QemuOpts, key: *const c_char, fallback: u64) -> u64;
    qbr_host_free(ptr: *mut c_void);
    qbr_host_qiov_elements(qiov: *mut QEMUIOVector, count: *mut usize, bytes: *mut usize) -> *const iovec;
    qbr_host_qiov_zero(qiov: *mut QEMUIOVector, offset: usize, bytes: usize);
    qbr_host_bs_set_flags(bs: *mut BlockDriverState, flags: *const QbrFlags);
    qbr_host_child_open(bs: *mut BlockDriverState, options: *mut QDict, name: *const c_char, role: u32, errp: *mut *mut Error) -> *mut BdrvChild;
    qbr_host_child_attach(bs: *mut BlockDriverState, node: *mut BlockDriverState, name: *const c_char, role: u32, errp: *mut *mut Error) -> *mut BdrvChild;
    qbr_host_child_detach(bs: *mut BlockDriverState, child: *mut BdrvChild);
    qbr_host_children_close(bs: *mut BlockDriverState, children: *const *mut BdrvChild, count: usize);
    qbr_host_child_drained_begin(child: *mut BdrvChild);
    qbr_host_child_drained_end(child: *mut BdrvChild);
    qbr_host_child_name(child: *mut BdrvChild) -> *const c_char;
    qbr_host_child_node_name(child: *mut BdrvChild) -> *const c_char;
    qbr_host_child_flags(child: *mut BdrvChild, flags: *mut QbrFlags);
    qbr_host_child_may_be_written(child: *mut BdrvChild) -> bool;
    qbr_host_child_unmaps(child: *mut BdrvChild) -> bool;
    qbr_host_child_zero_alignment(child: *mut BdrvChild) -> u32;
    qbr_host_child_is_only_parent_of(child: *mut BdrvChild, node: *mut BlockDriverState) -> bool;
    qbr_host_children_options(target: *mut QDict, children: *const *mut BdrvChild, count: usize);
    qbr_host_child_run(io: *mut QbrChildIo) -> i64;
    qbr_host_child_read(child: *mut BdrvChild, offset: i64, bytes: i64, qiov: *mut QEMUIOVector, qiov_offset: usize, flags: u32) -> c_int;
    qbr_host_child_write(child: *mut BdrvChild, offset: i64, bytes: i64, qiov: *mut QEMUIOVector, qiov_offset: usize, flags: u32) -> c_int;
    qbr_host_filter_flush(bs: *mut BlockDriverState) -> c_int;
    qbr_host_child_start(io: *mut QbrChildIo);
    qbr_host_quorum_report_bad(kind: u32, error: c_int, child: *mut BdrvChild, sector: i64, sectors: i64);
    qbr_host_quorum_failure(bs: *mut BlockDriverState, sector: i64, sectors: i64);
    qbr_host_bs_is_writable(bs: *mut BlockDriverState) -> bool;
    qbr_host_filtered_open(bs: *mut BlockDriverState, options: *mut QDict, errp: *mut *mut Error) -> *mut BdrvChild;
    qbr_host_replication_new(bs: *mut BlockDriverState) -> *mut ReplicationState;
    qbr_host_replication_remove(state: *mut ReplicationState);
    qbr_host_disks_examine(bs: *mut BlockDriverState, disks: *mut QbrDisks);
    qbr_host_disks_reopen(bs: *mut BlockDriverState, hidden: bool, secondary: bool, writable: bool, errp: *mut *mut Error) -> c_int;
    qbr_host_disks_attach(bs: *mut BlockDriverState, hidden: *mut *mut BdrvChild, secondary: *mut *mut BdrvChild, errp: *mut *mut Error) -> c_int;
    qbr_host_disk_is_behind(bs: *mut BlockDriverState, hidden: *mut BdrvChild) -> bool;
    qbr_host_top_block(bs: *mut BlockDriverState, top_id: *const c_char) -> *mut QbrBlocker;
    qbr_host_top_unblock(blocker: *mut QbrBlocker);
    qbr_host_backup_start(bs: *mut BlockDriverState, secondary: *mut BdrvChild, hidden: *mut BdrvChild, errp: *mut *mut Error) -> *mut BlockJob;
    qbr_host_backup_checkpoint(job: *mut BlockJob, errp: *mut *mut Error) -> c_int;
    qbr_host_commit_start(bs: *mut BlockDriverState, active: *mut BdrvChild, secondary: *mut BdrvChild, errp: *mut *mut Error) -> *mut BlockJob;
    qbr_host_job_cancel(bs: *mut BlockDriverState, job: *mut BlockJob, force: bool);
    qbr_host_child_make_empty(child: *mut BdrvChild, errp: *mut *mut Error) -> c_int;
    qbr_host_info_set_cluster_size(info: *mut BlockDriverInfo, bytes: u32);
    qbr_host_rbd_info(encryption: u32) -> *mut ImageInfoSpecific;
    qbr_host_snapshot_name(info: *const QEMUSnapshotInfo) -> *const c_char;
    qbr_host_snapshot_id(info: *const QEMUSnapshotInfo) -> *const c_char;
    qbr_host_snapshots_new(count: usize) -> *mut QEMUSnapshotInfo;
    qbr_host_snapshots_set(table: *mut QEMUSnapshotInfo, index: usize, name: *const c_char, size: u64);
    qbr_host_secret_base64(id: *const c_char, errp: *mut *mut Error) -> *mut c_char;
    qbr_host_qdict_put(options: *mut QDict, key: *const c_char, value: *const c_char);
    qbr_host_qdict_array_entries(options: *mut QDict, prefix: *const c_char) -> i64;
    qbr_host_error_propagate(errp: *mut *mut Error, error: *mut Error);
    qbr_host_error_message(error: *mut Error) -> *const c_char;
    qbr_host_error_free(error: *mut Error);
    qbr_host_exit_with(line: *const c_char) -> !;
    qbr_host_error_set(errp: *mut *mut Error, message: *const c_char, hint: *const c_char);
    qbr_host_error_report(message: *const c_char);
    qbr_host_warn_report(message: *const c_char);
}
