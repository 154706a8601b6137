// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Exports of the quorum driver: the callbacks of `struct BlockDriver`, in their order there.

use std::ffi::{c_char, c_int, c_uint, CStr};
use std::ptr::NonNull;

use super::arg;
use super::guard::{self, Explain};
use crate::abi::{BlockReopenQueue, QBR_BLOCK_DATA, QBR_BLOCK_ZERO};
use crate::driver::quorum::{permissions, Error as QuorumError, Options, Quorum};
use crate::errno::Errno;
use crate::host::options::{array_entries, take_from_qdict};
use crate::host::qemu::{gather_children_options, Bs};
use crate::host::{Child, HostError, Length, Permissions};
use crate::iov::GuestIov;
use crate::range::ByteRange;
use crate::sys::host::{BdrvChild, BlockDriverState, Error, QDict, QEMUIOVector};

/// The options of a node besides its children; what isn't named here stays for the block layer to refuse.
const RUNTIME_OPTIONS: [&CStr; 4] = [c"vote-threshold", c"read-pattern", c"blkverify", c"rewrite-corrupted"];

impl Explain for QuorumError {
    fn into_host(self) -> Option<HostError> {
        match self {
            QuorumError::Child(error) => Some(error),
            _ => None,
        }
    }
}

/// `.bdrv_open`. Opens the children that @options describe or name. Main loop, not in a coroutine; children may block.
/// 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_open(
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
        let count = unsafe { array_entries(dict, c"children.") };
        // SAFETY: as above.
        let mut map = unsafe { take_from_qdict(dict, &RUNTIME_OPTIONS) };
        let quorum = Quorum::new(Options::parse(&mut map, count)?);
        // The block layer asks for permissions while children are attached, so the state must be in its place by then.
        // SAFETY: the place is the node's own, and NULL before open.
        unsafe { guard::store(bs.state(), quorum) };
        // SAFETY: stored just now.
        let opened = unsafe { open_children(node, bs, dict, count.unwrap_or(0)) };
        if opened.is_err() {
            // SAFETY: the state is of this type, and nobody uses the node yet.
            drop(unsafe { guard::take::<Quorum>(bs.state()) });
        }
        opened.map(|()| 0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Quorum, _>(c"qbr_quorum_open", node, errp, body) }
}

/// Opens all children of a new node, or none.
///
/// # Safety
/// The node is in its open callback, and its state is stored.
unsafe fn open_children(
    node: *mut BlockDriverState,
    bs: Bs,
    dict: NonNull<QDict>,
    count: usize,
) -> Result<(), QuorumError> {
    // SAFETY: the caller's promise.
    let quorum = unsafe { guard::state::<Quorum>(node) }?;
    for _ in 0..count {
        let name = quorum.children().get().next_name()?;
        // SAFETY: the dictionary is the block layer's to give, in the main loop.
        match unsafe { bs.open_child(dict, &name) } {
            // SAFETY: a node in its open callback has no requests, and no reference to the children is kept here.
            Ok(child) => unsafe { quorum.children().update(|children| children.add(child)) },
            Err(error) => {
                // SAFETY: nobody else uses the children of a node that isn't open yet.
                unsafe { bs.close_children(quorum.children().get().list()) };
                return Err(QuorumError::Child(error));
            }
        }
    }
    bs.set_flags(quorum.children().get().flags());
    Ok(())
}

/// `.bdrv_close`. Detaches the children. Main loop; no request is in flight.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_close(bs: *mut BlockDriverState) {
    let node = bs;
    let body = || {
        let Some(bs) = NonNull::new(bs) else { return };
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(bs) };
        // SAFETY: open stored a node of this type; it stays in its place while the block layer asks about its children.
        if let Some(quorum) = unsafe { guard::closing::<Quorum>(bs.state()) } {
            // SAFETY: no request uses the children any more.
            unsafe { bs.close_children(quorum.children().get().list()) };
        }
        // SAFETY: as above, and nothing asks any more.
        drop(unsafe { guard::take::<Quorum>(bs.state()) });
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::call::<Quorum>(c"qbr_quorum_close", node, body) }
}

/// `.bdrv_gather_child_options`. Adds the options of the children to @target, as the list "children". Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_gather_child_options(
    bs: *mut BlockDriverState,
    target: *mut QDict,
    _backing_overridden: bool,
) {
    let body = |_: Bs, quorum: &Quorum| {
        let Some(target) = NonNull::new(target) else { return };
        // SAFETY: the dictionary is the block layer's to fill, in the main loop.
        unsafe { gather_children_options(target, quorum.children().get().list()) }
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_quorum_gather_child_options", bs, drop, body) }
}

/// `.bdrv_dirname`. There is none, as the children may be anywhere: NULL with @errp set. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_dirname(bs: *mut BlockDriverState, errp: *mut *mut Error) -> *mut c_char {
    let body = || Err(QuorumError::NoDirectory);
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Quorum, _>(c"qbr_quorum_dirname", bs, errp, body) };
    std::ptr::null_mut()
}

/// `.bdrv_co_truncate`. Sets the length of all children to @offset bytes, or of none. Coroutine. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_truncate(
    bs: *mut BlockDriverState,
    offset: i64,
    exact: bool,
    prealloc: c_uint,
    flags: c_uint,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        let bytes = ByteRange::new(0, offset)?.bytes();
        quorum.truncate(rq, Length { bytes, exact, preallocation: prealloc, flags }).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_quorum_co_truncate", bs, errp, body) }
}

/// `.bdrv_co_getlength` (7.2: `.bdrv_getlength`). Length in bytes, which all children have in common, or -errno. In a
/// coroutine (7.2: or in the main loop).
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_getlength(bs: *mut BlockDriverState) -> i64 {
    let failed = |errno: Errno| i64::from(errno.to_ret());
    let body = |_: Bs, quorum: &Quorum| {
        quorum.length().unwrap_or_else(|error| failed(crate::errno::ToErrno::errno(&error)))
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_quorum_getlength", bs, failed, body) }
}

/// `.bdrv_co_preadv`. Reads @bytes bytes from @offset on into @qiov. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_preadv(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    _flags: c_uint,
) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
        let iov = unsafe { GuestIov::from_raw(arg::not_null(qiov)?) };
        quorum.read(rq, bs, &iov, range).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_quorum_co_preadv", bs, body) }
}

/// `.bdrv_co_pwritev`. Writes @bytes bytes of @qiov from @offset on to all children. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_pwritev(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    flags: c_uint,
) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
        let iov = unsafe { GuestIov::from_raw(arg::not_null(qiov)?) };
        quorum.write(rq, bs, &iov, range, flags).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_quorum_co_pwritev", bs, body) }
}

/// `.bdrv_co_pwrite_zeroes`. Writes @bytes zero bytes from @offset on to all children. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_pwrite_zeroes(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    flags: c_uint,
) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        quorum.write_zeroes(rq, bs, ByteRange::new(offset, bytes)?, flags).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_quorum_co_pwrite_zeroes", bs, body) }
}

/// `.bdrv_co_pdiscard`. Gives back the space of @bytes bytes from @offset on, on all children. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_pdiscard(bs: *mut BlockDriverState, offset: i64, bytes: i64) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        quorum.discard(rq, bs, ByteRange::new(offset, bytes)?).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_quorum_co_pdiscard", bs, body) }
}

/// `.bdrv_co_flush`. Flushes all children. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_flush(bs: *mut BlockDriverState) -> c_int {
    let body = async |rq: &_, quorum: &Quorum| -> Result<c_int, QuorumError> {
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        quorum.flush(rq, bs).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_quorum_co_flush", bs, body) }
}

/// `.bdrv_co_block_status`. What the @bytes bytes from @offset on are, and for how many of them (@pnum) that holds. Coroutine.
/// @mode is `BDRV_WANT_*` of QEMU 10.2 (older: 2 for `want_zero`, else 0). `BDRV_BLOCK_*` or -errno; @map and @file stay as they
/// are.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_co_block_status(
    bs: *mut BlockDriverState,
    mode: c_uint,
    offset: i64,
    bytes: i64,
    pnum: *mut i64,
    _map: *mut i64,
    _file: *mut *mut BlockDriverState,
) -> c_int {
    let body = |_: Bs, quorum: &Quorum| {
        let range = match ByteRange::new(offset, bytes) {
            Ok(range) => range,
            Err(errno) => return errno.to_ret(),
        };
        let status = quorum.block_status(mode, range);
        // SAFETY: the block layer passes a place to write to.
        if let Some(place) = unsafe { pnum.as_mut() } {
            *place = status.bytes;
        }
        if status.zero {
            QBR_BLOCK_ZERO
        } else {
            QBR_BLOCK_DATA
        }
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_quorum_co_block_status", bs, Errno::to_ret, body) }
}

/// `.bdrv_add_child`. Attaches @node as another child. Main loop; no request is in flight. On failure @errp is set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_add_child(
    bs: *mut BlockDriverState,
    node: *mut BlockDriverState,
    errp: *mut *mut Error,
) {
    let body = || {
        // SAFETY: the block layer passes a valid node.
        let parent = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        let node = arg::not_null(node)?;
        // SAFETY: open stored a node of this type.
        let quorum = unsafe { guard::state::<Quorum>(bs) }?;
        // SAFETY: the block layer passes a valid node.
        let name = quorum.name_for_another_child(parent, unsafe { Bs::from_raw(node) })?;
        // SAFETY: the block layer has called to have it attached.
        let child = unsafe { parent.attach_child(node, &name) }.map_err(QuorumError::Child)?;
        // SAFETY: the block layer holds requests back, and no reference to the children is kept here.
        unsafe { quorum.children().update(|children| children.add(child)) };
        quorum.renew_allowance();
        parent.set_flags(quorum.children().get().flags());
        Ok(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Quorum, QuorumError>(c"qbr_quorum_add_child", bs, errp, body) };
}

/// `.bdrv_del_child`. Detaches @child. Main loop; no request is in flight. On failure @errp is set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_del_child(
    bs: *mut BlockDriverState,
    child: *mut BdrvChild,
    errp: *mut *mut Error,
) {
    let body = || {
        // SAFETY: the block layer passes a valid node.
        let parent = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: the block layer passes a child of the node.
        let child = unsafe { Child::from_raw(arg::not_null(child)?) };
        // SAFETY: open stored a node of this type.
        let quorum = unsafe { guard::state::<Quorum>(bs) }?;
        quorum.check_removal(child)?;
        let name = child.name();
        // SAFETY: the block layer holds requests back, and no reference to the children is kept here.
        unsafe { quorum.children().update(|children| children.remove(child, &name)) };
        // SAFETY: the block layer has called to have it detached, and it is in no list any more.
        unsafe { parent.detach_child(child) };
        parent.set_flags(quorum.children().get().flags());
        Ok(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Quorum, QuorumError>(c"qbr_quorum_del_child", bs, errp, body) };
}

/// `.bdrv_child_perm`. What the node needs of a child and lets others do with it. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_child_perm(
    bs: *mut BlockDriverState,
    _child: *mut BdrvChild,
    _role: c_uint,
    _queue: *mut BlockReopenQueue,
    perm: u64,
    shared: u64,
    nperm: *mut u64,
    nshared: *mut u64,
) {
    let parents = Permissions { wanted: perm, shared };
    let body = |bs: Bs, quorum: &Quorum| quorum.permissions(bs, parents);
    // A node that is not to be trusted gets no more than its parents have.
    // SAFETY: the block layer passes a valid node.
    let own = unsafe { guard::query(c"qbr_quorum_child_perm", bs, |_| permissions(false, parents), body) };
    for (place, value) in [(nperm, own.wanted), (nshared, own.shared)] {
        // SAFETY: the block layer passes places to write to.
        if let Some(place) = unsafe { place.as_mut() } {
            *place = value;
        }
    }
}

/// `.bdrv_recurse_can_replace`. Whether @node, with other data, may take the place of a child: only if it is a child that
/// nobody else uses. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_quorum_recurse_can_replace(
    bs: *mut BlockDriverState,
    node: *mut BlockDriverState,
) -> bool {
    let body = |_: Bs, quorum: &Quorum| {
        let Some(node) = NonNull::new(node) else { return false };
        quorum.children().get().list().iter().any(|child| child.is_only_parent_of(node))
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_quorum_recurse_can_replace", bs, |_| false, body) }
}
