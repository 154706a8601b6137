// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Exports of the replication driver: the callbacks of `struct BlockDriver`, in their order there, those of QEMU's replication
//! core, and the ends of jobs.

use std::ffi::{c_int, c_uint, c_void, CStr};
use std::ptr::NonNull;

use super::arg;
use super::guard::{self, Explain};
use crate::abi::{BlockReopenQueue, QBR_REQ_MAY_UNMAP, QBR_REQ_WRITE_UNCHANGED};
use crate::driver::replication::{permissions, Error as ReplicationError, Mode, Options, Replication};
use crate::errno::Errno;
use crate::host::options::take_from_qdict;
use crate::host::qemu::Bs;
use crate::host::{Flags, HostError};
use crate::iov::GuestPart;
use crate::range::ByteRange;
use crate::sys::host::{
    BdrvChild, BlockDriverState, Error, QDict, QEMUIOVector, QBR_CHILD_PRIMARY, QBR_REPLICATION_PRIMARY,
    QBR_REPLICATION_SECONDARY,
};

/// The options of a node besides its child; what isn't named here stays for the block layer to refuse.
const RUNTIME_OPTIONS: [&CStr; 2] = [c"mode", c"top-id"];

/// The request flags that a node takes; a child that doesn't have one of them has the block layer do without. Zeroes that are to
/// be written quickly or not at all are not among them: of a primary and the disk beside it, only one might do it.
const FLAGS: Flags =
    Flags { write: QBR_REQ_WRITE_UNCHANGED, zero: QBR_REQ_WRITE_UNCHANGED | QBR_REQ_MAY_UNMAP, truncate: 0 };

impl Explain for ReplicationError {
    fn into_host(self) -> Option<HostError> {
        match self {
            ReplicationError::Host(error) | ReplicationError::Empty(_, error) => Some(error),
            _ => None,
        }
    }
}

/// `.bdrv_open`. Opens the child that @options describe or name as "file". Main loop, not in a coroutine. 0, or -errno with
/// @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_open(
    bs: *mut BlockDriverState,
    options: *mut QDict,
    _flags: c_int,
    errp: *mut *mut Error,
) -> c_int {
    let node = bs;
    let body = || {
        let dict = arg::not_null(options)?;
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: the dictionary is the block layer's to give, in the main loop.
        let mut map = unsafe { take_from_qdict(dict, &RUNTIME_OPTIONS) };
        let options = Options::parse(&mut map)?;
        // SAFETY: as above.
        let file = unsafe { bs.open_filtered(dict) }.map_err(ReplicationError::Host)?;
        let replication = Replication::new(options, file);
        replication.set_registration(bs.register_replication());
        bs.set_flags(FLAGS);
        // SAFETY: the place is the node's own, and NULL before open.
        unsafe { guard::store(bs.state(), replication) };
        Ok(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Replication, ReplicationError>(c"qbr_replication_open", node, errp, body) }
}

/// `.bdrv_close`. Ends what runs; what the disks hold stays there. Main loop; no request is in flight.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_close(bs: *mut BlockDriverState) {
    const EXPORT: &CStr = c"qbr_replication_close";
    let node = bs;
    let Some(bs) = NonNull::new(bs) else { return };
    // SAFETY: the block layer passes a valid node.
    let bs = unsafe { Bs::from_raw(bs) };
    let close = || {
        // SAFETY: open stored a node of this type; it stays in its place while jobs tell their end.
        if let Some(replication) = unsafe { guard::closing::<Replication>(bs.state()) } {
            replication.close(bs);
        }
    };
    let go = || {
        // SAFETY: as above, and nothing is left that could tell.
        drop(unsafe { guard::take::<Replication>(bs.state()) });
    };
    // Jobs and QEMU's core know the node, which goes now, whatever panics. What was ended already isn't ended twice.
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::call::<Replication>(EXPORT, node, close) };
    // SAFETY: as above.
    unsafe { guard::call::<Replication>(EXPORT, node, close) };
    // SAFETY: as above.
    unsafe { guard::call::<Replication>(EXPORT, node, go) };
}

/// `.bdrv_co_truncate`. The length can't be changed: -ENOTSUP with @errp set. Coroutine.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_truncate(
    bs: *mut BlockDriverState,
    _offset: i64,
    _exact: bool,
    _prealloc: c_uint,
    _flags: c_uint,
    errp: *mut *mut Error,
) -> c_int {
    // DIVERGES: a resize is refused; the C driver has no say, and QEMU aborts as nobody may resize the child.
    let body = async |_: &_, _: &Replication| Err(ReplicationError::Resize);
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_replication_co_truncate", bs, errp, body) }
}

/// `.bdrv_co_getlength` (7.2: `.bdrv_getlength`). Length in bytes, or -errno. In a coroutine (7.2: or in the main loop).
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_getlength(bs: *mut BlockDriverState) -> i64 {
    let failed = |errno: Errno| i64::from(errno.to_ret());
    let body = |_: Bs, replication: &Replication| replication.length().unwrap_or_else(failed);
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_replication_getlength", bs, failed, body) }
}

/// `.bdrv_co_preadv_part` of the node whose state is at @state. Reads @bytes bytes from @offset on into @qiov, from its byte
/// @skip on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them to the adapter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_preadv_part(
    state: *mut *mut c_void,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    skip: usize,
    _flags: c_uint,
) -> c_int {
    let body = move |replication: &Replication| -> Result<c_int, Errno> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the vector and its memory are valid until the request ends, which is in this very call.
        let part = unsafe { GuestPart::from_raw(arg::not_null(qiov)?, skip) };
        replication.read(part, range).map(|()| 0)
    };
    // SAFETY: the adapter passes the place of the state of a valid node.
    unsafe { guard::direct_at(c"qbr_replication_co_preadv_part", state, body) }
}

/// `.bdrv_co_pwritev_part` of the node whose state is at @state. Writes @bytes bytes of @qiov, from its byte @skip on, from
/// @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them to the adapter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_pwritev_part(
    state: *mut *mut c_void,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    skip: usize,
    flags: c_uint,
) -> c_int {
    let body = move |replication: &Replication| -> Result<c_int, Errno> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the vector and its memory are valid until the request ends, which is in this very call.
        let part = unsafe { GuestPart::from_raw(arg::not_null(qiov)?, skip) };
        replication.write(part, range, flags).map(|()| 0)
    };
    // SAFETY: the adapter passes the place of the state of a valid node.
    unsafe { guard::direct_at(c"qbr_replication_co_pwritev_part", state, body) }
}

/// `.bdrv_co_pwrite_zeroes`. Writes @bytes zero bytes from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_pwrite_zeroes(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    flags: c_uint,
) -> c_int {
    let body = |replication: &Replication| -> Result<c_int, Errno> {
        replication.write_zeroes(ByteRange::new(offset, bytes)?, flags).map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::direct(c"qbr_replication_co_pwrite_zeroes", bs, body) }
}

/// `.bdrv_co_pdiscard`. Gives back the space of @bytes bytes from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_pdiscard(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
) -> c_int {
    let body = |replication: &Replication| -> Result<c_int, Errno> {
        replication.discard(ByteRange::new(offset, bytes)?).map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::direct(c"qbr_replication_co_pdiscard", bs, body) }
}

/// `.bdrv_co_flush`. Makes what was written durable on all disks. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_co_flush(bs: *mut BlockDriverState) -> c_int {
    let node = bs;
    let body = |replication: &Replication| -> Result<c_int, Errno> {
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        replication.flush(bs).map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::direct(c"qbr_replication_co_flush", node, body) }
}

/// `.bdrv_child_perm`. What the node needs of a child and lets others do with it. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_child_perm(
    bs: *mut BlockDriverState,
    _child: *mut BdrvChild,
    role: c_uint,
    _queue: *mut BlockReopenQueue,
    _perm: u64,
    _shared: u64,
    nperm: *mut u64,
    nshared: *mut u64,
) {
    // The block layer asks also while the child is attached, before there is a state, so none is needed.
    let is_writable = NonNull::new(bs).is_some_and(|bs| {
        // SAFETY: the block layer passes a valid node.
        unsafe { Bs::from_raw(bs) }.is_writable()
    });
    let own = permissions(role & QBR_CHILD_PRIMARY != 0, is_writable);
    let body = |_: Bs, _: &Replication| {};
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_replication_child_perm", bs, drop, body) }
    for (place, value) in [(nperm, own.wanted), (nshared, own.shared)] {
        // SAFETY: the block layer passes places to write to.
        if let Some(place) = unsafe { place.as_mut() } {
            *place = value;
        }
    }
}

/// An operation of the replication core, with the node that it is about. On failure sets the error.
///
/// # Safety
/// Pointers as the replication core passes them.
unsafe fn operation(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    errp: *mut *mut Error,
    body: impl FnOnce(Bs, &Replication) -> Result<(), ReplicationError>,
) {
    let work = || {
        // SAFETY: the node has registered itself, and is valid.
        let node = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: open stored a node of this type.
        let replication = unsafe { guard::state::<Replication>(bs) }?;
        body(node, replication).map(|()| 0)
    };
    // SAFETY: the core's errp.
    unsafe { guard::call_errp::<Replication, ReplicationError>(export, bs, errp, work) };
}

/// Starts the replication of @bs, as @mode (`QBR_REPLICATION_*`) if that is its side. Main loop. On failure @errp is set, and what was
/// taken for it is given back.
///
/// # Safety
/// Pointers as the replication core passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_start(
    bs: *mut BlockDriverState,
    mode: c_uint,
    errp: *mut *mut Error,
) {
    let body = |bs: Bs, replication: &Replication| {
        let mode = match mode {
            QBR_REPLICATION_PRIMARY => Mode::Primary,
            QBR_REPLICATION_SECONDARY => Mode::Secondary,
            _ => return Err(Errno::EINVAL.into()),
        };
        replication.start(bs, mode)
    };
    // SAFETY: the caller's promise.
    unsafe { operation(c"qbr_replication_start", bs, errp, body) }
}

/// Makes a checkpoint: a secondary's guest goes on with what the primary's has written. Main loop. On failure @errp is set.
///
/// # Safety
/// Pointers as the replication core passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_checkpoint(bs: *mut BlockDriverState, errp: *mut *mut Error) {
    let body = |bs: Bs, replication: &Replication| replication.checkpoint(bs);
    // SAFETY: the caller's promise.
    unsafe { operation(c"qbr_replication_checkpoint", bs, errp, body) }
}

/// Sets @errp if the replication does not run, or has lost a write. Main loop.
///
/// # Safety
/// Pointers as the replication core passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_get_error(bs: *mut BlockDriverState, errp: *mut *mut Error) {
    let body = |_: Bs, replication: &Replication| replication.get_error();
    // SAFETY: the caller's promise.
    unsafe { operation(c"qbr_replication_get_error", bs, errp, body) }
}

/// Stops the replication; with @failover a secondary takes over, which may go on for a while. Main loop. On failure @errp is set.
///
/// # Safety
/// Pointers as the replication core passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_stop(
    bs: *mut BlockDriverState,
    failover: bool,
    errp: *mut *mut Error,
) {
    let body = |bs: Bs, replication: &Replication| replication.stop(bs, failover);
    // SAFETY: the caller's promise.
    unsafe { operation(c"qbr_replication_stop", bs, errp, body) }
}

/// The job that `qbr_host_backup_start()` started has ended with @ret. Main loop, also during a call of the driver's.
///
/// # Safety
/// Pointers as they were passed to that service.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_backup_ended(bs: *mut BlockDriverState, _ret: c_int) {
    // SAFETY: the caller's promise.
    unsafe { job_ended(c"qbr_replication_backup_ended", bs, |_, replication| replication.backup_ended()) }
}

/// The job that `qbr_host_commit_start()` started has ended with @ret. Main loop, also during a call of the driver's.
///
/// # Safety
/// Pointers as they were passed to that service.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_replication_commit_ended(bs: *mut BlockDriverState, ret: c_int) {
    let result = Errno::check(i64::from(ret)).map(drop);
    // SAFETY: the caller's promise.
    unsafe {
        job_ended(c"qbr_replication_commit_ended", bs, |bs, replication| {
            replication.commit_ended(bs, result);
        });
    }
}

/// The end of a job of a node, which must be noted also if the node is poisoned.
///
/// # Safety
/// As for the exports.
unsafe fn job_ended(export: &'static CStr, bs: *mut BlockDriverState, body: impl FnOnce(Bs, &Replication)) {
    let node = bs;
    let work = || {
        let Some(bs) = NonNull::new(bs) else { return };
        // SAFETY: a node outlives its jobs.
        let bs = unsafe { Bs::from_raw(bs) };
        // SAFETY: open stored a node of this type.
        if let Some(replication) = unsafe { guard::closing::<Replication>(bs.state()) } {
            body(bs, replication);
        }
    };
    // SAFETY: a node outlives its jobs.
    unsafe { guard::call::<Replication>(export, node, work) }
}
