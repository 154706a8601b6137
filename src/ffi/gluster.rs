// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Exports of the gluster driver: the callbacks of `struct BlockDriver`, in their order there.

use std::ffi::{c_char, c_int, c_uint, CStr};
use std::ptr::NonNull;

use super::arg;
use super::guard::{self, Explain};
use super::reopen;
use crate::abi::{
    QBR_BLOCK_DATA, QBR_BLOCK_OFFSET_VALID, QBR_BLOCK_ZERO, QBR_O_NOCACHE, QBR_O_RDWR, QBR_PREALLOC_FALLOC,
    QBR_PREALLOC_FULL, QBR_PREALLOC_METADATA, QBR_PREALLOC_OFF, QBR_WANT_ZERO,
};
use crate::driver::gluster::{self, Access, Error as GlusterError, Gluster, Preallocation, Truncate};
use crate::errno::{Errno, ToErrno};
use crate::host::options::{from_create_options, take_from_qdict, CreateOpts};
use crate::host::qemu::Bs;
use crate::iov::GuestIov;
use crate::range::ByteRange;
use crate::sys::host::{
    BDRVReopenState, BlockDriverState, BlockdevCreateOptions, Error, QDict, QEMUIOVector, QbrLimits, QemuOpts,
};

/// The options of a node; what isn't named here stays for the block layer to refuse.
const RUNTIME_OPTIONS: [&CStr; 6] = [c"filename", c"debug", c"logfile", c"volume", c"path", c"server."];

/// The options beside a URI.
const URI_OPTIONS: [&CStr; 3] = [c"filename", c"debug", c"logfile"];

/// Several versions of Gluster fail with requests of 1 GiB and more.
const MAX_TRANSFER: i64 = 512 << 20;

impl Explain for GlusterError {
    fn hint(&self) -> Option<&str> {
        GlusterError::hint(self)
    }
}

/// Access that the flags of an open or a reopen ask for.
fn access(flags: c_int) -> Access {
    Access { writable: flags & QBR_O_RDWR != 0, direct: flags & QBR_O_NOCACHE != 0 }
}

/// `.bdrv_open` (7.2: `.bdrv_file_open`). Opens the image that @options name and takes them out of the dictionary.
/// Main loop, not in a coroutine; blocks on the network. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_open(
    bs: *mut BlockDriverState,
    options: *mut QDict,
    flags: c_int,
    errp: *mut *mut Error,
) -> c_int {
    let node = bs;
    let body = || {
        let dict = arg::not_null(options)?;
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(arg::not_null(bs)?) };
        // SAFETY: the dictionary is the block layer's to give, in the main loop.
        let mut map = unsafe { take_from_qdict(dict, &URI_OPTIONS) };
        if !map.contains("filename") {
            // Volume, path and servers stand for a URI. Beside one they are left over, and refused.
            // SAFETY: as above.
            let members = unsafe { take_from_qdict(dict, &RUNTIME_OPTIONS) };
            map.extend(members);
        }
        let state = gluster::open(map, access(flags), |reason| bs.apply_auto_read_only(reason))?;
        // SAFETY: the place is the node's own, and NULL before open.
        unsafe { guard::store(bs.state(), state) };
        Ok::<_, GlusterError>(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Gluster, _>(c"qbr_gluster_open", node, errp, body) }
}

/// `.bdrv_reopen_prepare`. Opens the node's file anew with the flags of the reopen; options can't be changed.
/// Main loop; blocks on the network. 0, or -errno with @errp set and nothing to undo.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_reopen_prepare(
    state: *mut BDRVReopenState,
    _queue: *mut crate::abi::BlockReopenQueue,
    errp: *mut *mut Error,
) -> c_int {
    let open = |old: &Gluster, flags| gluster::reopen(old, access(flags));
    // SAFETY: the block layer passes a valid reopen, and its errp.
    unsafe { reopen::prepare(c"qbr_gluster_reopen_prepare", state, errp, open) }
}

/// `.bdrv_reopen_commit`. The node uses its new file from here on. Main loop; the node is drained.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_reopen_commit(state: *mut BDRVReopenState) {
    let close = |bs: Bs, old: Gluster, new: &Gluster| old.close_for(new, || bs.name());
    // SAFETY: the block layer passes a valid reopen.
    unsafe { reopen::commit(c"qbr_gluster_reopen_commit", state, close) }
}

/// `.bdrv_reopen_abort`. Forgets the new file. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_reopen_abort(state: *mut BDRVReopenState) {
    // SAFETY: the block layer passes a valid reopen.
    unsafe { reopen::abort(c"qbr_gluster_reopen_abort", state, drop::<Gluster>) }
}

/// `.bdrv_close`. Closes the file; the connection ends in the background. Main loop; no request is in flight.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_close(bs: *mut BlockDriverState) {
    let node = bs;
    let body = || {
        let Some(bs) = NonNull::new(bs) else { return };
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(bs) };
        // SAFETY: open stored a node of this type, and no request uses it any more.
        let node = unsafe { guard::take::<Gluster>(bs.state()) };
        if let Some(node) = node {
            node.into_state().close(|| bs.name());
        }
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::call::<Gluster>(c"qbr_gluster_close", node, body) }
}

/// `.bdrv_co_create`. Creates an image as blockdev-create asks. Coroutine; does not block. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_create(
    options: *mut BlockdevCreateOptions,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_| {
        // SAFETY: the block layer passes valid options.
        let map = unsafe { from_create_options(arg::not_null(options)?) };
        gluster::create(rq, gluster::parse_create_options(map)?).await.map(|()| 0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::create_errp::<GlusterError>(c"qbr_gluster_co_create", errp, body) }
}

/// `.bdrv_co_create_opts`. Creates an image as qemu-img create asks. Coroutine; does not block. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_create_opts(
    _drv: *mut crate::abi::BlockDriver,
    filename: *const c_char,
    opts: *mut QemuOpts,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_| {
        // SAFETY: the block layer passes a valid string.
        let uri = unsafe { arg::text(filename) }?;
        // SAFETY: the block layer passes valid options, for this call alone.
        let mut opts = unsafe { CreateOpts::from_raw(arg::not_null(opts)?) };
        let preallocation = opts.take(c"preallocation");
        let create = gluster::parse_create_opts(
            uri.to_bytes(),
            opts.take_size(c"size", 0),
            preallocation.as_deref(),
            opts.take(c"debug"),
            opts.take(c"logfile"),
        )?;
        gluster::create(rq, create).await.map(|()| 0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::create_errp::<GlusterError>(c"qbr_gluster_co_create_opts", errp, body) }
}

/// `.bdrv_co_truncate`. Sets the length to @offset bytes; @flags make no difference. With cache.direct=on and larger sectors than
/// QEMU's it gets longer if it has to, but not if it is to be @exact: -EINVAL. Coroutine. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_truncate(
    bs: *mut BlockDriverState,
    offset: i64,
    exact: bool,
    prealloc: c_uint,
    _flags: c_uint,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_, state: &Gluster| {
        let length = ByteRange::new(0, offset)?.bytes();
        let preallocation = match prealloc {
            QBR_PREALLOC_OFF => Preallocation::Off,
            QBR_PREALLOC_FALLOC => Preallocation::Falloc,
            QBR_PREALLOC_FULL => Preallocation::Full,
            QBR_PREALLOC_METADATA => return Err(GlusterError::Preallocation("metadata".into())),
            other => return Err(GlusterError::Preallocation(other.to_string())),
        };
        state.truncate(rq, Truncate { length, exact, preallocation }).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_gluster_co_truncate", bs, errp, body) }
}

/// `.bdrv_co_getlength` (7.2: `.bdrv_getlength`). Length of the image in bytes, or -errno. In a coroutine or in the main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_getlength(bs: *mut BlockDriverState) -> i64 {
    let mut length = 0;
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        length = state.length(rq).await?;
        Ok(0)
    };
    // SAFETY: the block layer passes a valid node.
    match unsafe { guard::request(c"qbr_gluster_getlength", bs, body) } {
        0 => length,
        ret => ret.into(),
    }
}

/// `.bdrv_co_get_allocated_file_size` (7.2: `.bdrv_get_allocated_file_size`). Bytes on disk, or -errno. In a coroutine or in
/// the main loop; never waits long for a server that is away.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_get_allocated_file_size(bs: *mut BlockDriverState) -> i64 {
    let failed = |errno: Errno| i64::from(errno.to_ret());
    let body = |_, state: &Gluster| state.allocated().unwrap_or_else(|error| failed(error.errno()));
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_gluster_get_allocated_file_size", bs, failed, body) }
}

/// `.bdrv_co_preadv`. Reads @bytes bytes from @offset on into @qiov. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_preadv(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    _flags: c_uint,
) -> c_int {
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
        let iov = unsafe { GuestIov::from_raw(arg::not_null(qiov)?) };
        state.read(rq, &iov, range).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_gluster_co_preadv", bs, body) }
}

/// `.bdrv_co_pwritev`. Writes @bytes bytes of @qiov from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_pwritev(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    _flags: c_uint,
) -> c_int {
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        let range = ByteRange::new(offset, bytes)?;
        // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
        let iov = unsafe { GuestIov::from_raw(arg::not_null(qiov)?) };
        state.write(rq, &iov, range).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_gluster_co_pwritev", bs, body) }
}

/// `.bdrv_co_pwrite_zeroes`. Writes @bytes zero bytes from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_pwrite_zeroes(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    _flags: c_uint,
) -> c_int {
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        state.write_zeroes(rq, ByteRange::new(offset, bytes)?).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_gluster_co_pwrite_zeroes", bs, body) }
}

/// `.bdrv_co_pdiscard`. Gives back the space of @bytes bytes from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_pdiscard(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
) -> c_int {
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        state.discard(rq, ByteRange::new(offset, bytes)?).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_gluster_co_pdiscard", bs, body) }
}

/// `.bdrv_co_flush_to_disk`. Makes acknowledged writes durable. Coroutine. 0 or -errno; once it failed it fails for ever.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_flush_to_disk(bs: *mut BlockDriverState) -> c_int {
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        let name = || {
            NonNull::new(bs).map_or_else(String::new, |bs| {
                // SAFETY: the block layer passes a valid node.
                unsafe { Bs::from_raw(bs) }.name()
            })
        };
        state.flush(rq, name).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_gluster_co_flush_to_disk", bs, body) }
}

/// `.bdrv_co_block_status`. What the range holds: @pnum bytes that are alike, stored at @map in @file. Coroutine.
/// @mode is `BDRV_WANT_*` of QEMU 10.2 (older: 2 for `want_zero`, else 0). `BDRV_BLOCK_*` or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_co_block_status(
    bs: *mut BlockDriverState,
    mode: c_uint,
    offset: i64,
    bytes: i64,
    pnum: *mut i64,
    map: *mut i64,
    file: *mut *mut BlockDriverState,
) -> c_int {
    let mut length = 0;
    let body = async |rq: &_, state: &Gluster| -> Result<c_int, GlusterError> {
        let range = ByteRange::new(offset, bytes)?;
        let status = state.block_status(rq, mode & QBR_WANT_ZERO != 0, range).await?;
        length = status.bytes;
        let kind = if status.zero { QBR_BLOCK_ZERO } else { QBR_BLOCK_DATA };
        Ok(kind | QBR_BLOCK_OFFSET_VALID)
    };
    // SAFETY: the block layer passes a valid node.
    let ret = unsafe { guard::request(c"qbr_gluster_co_block_status", bs, body) };
    if ret >= 0 {
        for (place, value) in [(pnum, length), (map, offset)] {
            // SAFETY: the block layer passes places to write to.
            if let Some(place) = unsafe { place.as_mut() } {
                *place = value;
            }
        }
        // SAFETY: as above.
        if let Some(place) = unsafe { file.as_mut() } {
            *place = bs;
        }
    }
    ret
}

/// `.bdrv_refresh_limits`. Tells the block layer what requests the node takes. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_gluster_refresh_limits(bs: *mut BlockDriverState, _errp: *mut *mut Error) {
    let body = |bs: Bs, state: &Gluster| {
        bs.set_limits(&QbrLimits {
            request_alignment: state.alignment(),
            max_transfer: MAX_TRANSFER,
            max_pdiscard: i64::MAX,
            max_pwrite_zeroes: 0,
        });
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_gluster_refresh_limits", bs, drop, body) }
}
