// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Exports of the rbd driver: the callbacks of `struct BlockDriver`, in their order there.

use std::ffi::{c_char, c_int, c_uint, CStr, CString};
use std::ptr::{self, NonNull};

use super::arg;
use super::guard::{self, Explain};
use super::reopen;
use crate::abi::{
    QBR_BLOCK_DATA, QBR_BLOCK_OFFSET_VALID, QBR_BLOCK_ZERO, QBR_O_RDWR, QBR_PREALLOC_FALLOC,
    QBR_PREALLOC_FULL, QBR_PREALLOC_METADATA, QBR_PREALLOC_OFF, QBR_REQ_MAY_UNMAP, QBR_REQ_NO_FALLBACK,
    QBR_REQ_ZERO_WRITE, QBR_WANT_ZERO,
};
use crate::driver::rbd::create_options::CreateOptions;
use crate::driver::rbd::options::{OptionsError, PAIRS, SECRET_PAIRS};
use crate::driver::rbd::{self, Access, Error as RbdError, Rbd};
use crate::errno::{Errno, ToErrno};
use crate::host::image::{
    rbd_info, secret_base64, set_cluster_size, snapshot_name_and_id, snapshot_table, RbdEncryption,
};
use crate::host::options::{from_create_options, put_into_qdict, take_from_qdict, CreateOpts};
use crate::host::qemu::{report_error, Bs};
use crate::host::{set_error, Flags, HostError};
use crate::iov::GuestIov;
use crate::options::OptionMap;
use crate::range::ByteRange;
use crate::sys::host::{
    BDRVReopenState, BlockDriverInfo, BlockDriverState, BlockdevCreateOptions, Error, ImageInfoSpecific,
    QDict, QEMUIOVector, QEMUSnapshotInfo, QemuOpts,
};

/// The options of a node; what isn't named here stays for the block layer to refuse.
const RUNTIME_OPTIONS: [&CStr; 13] = [
    c"pool",
    c"namespace",
    c"image",
    c"snapshot",
    c"conf",
    c"user",
    c"server.",
    c"auth-client-required.",
    c"key-secret",
    c"password-secret",
    c"encrypt.",
    c"=keyvalue-pairs",
    c"=secret-keyvalue-pairs",
];

/// Options of `qemu-img create` that are members of a structure in other places.
const ENCRYPTION_OPTIONS: [&CStr; 3] = [c"encrypt.format", c"encrypt.cipher-alg", c"encrypt.key-secret"];

/// The request flags that a node takes. What an image grows by reads as zeroes in any case.
const FLAGS: Flags =
    Flags { write: 0, zero: QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK, truncate: QBR_REQ_ZERO_WRITE };

impl Explain for RbdError {
    fn hint(&self) -> Option<&str> {
        RbdError::hint(self)
    }

    fn into_host(self) -> Option<HostError> {
        match self {
            RbdError::Secret(error) => Some(error),
            _ => None,
        }
    }
}

/// Access that the flags of an open or a reopen ask for. Whether the host's cache is used makes no difference: there is none.
fn access(flags: c_int) -> Access {
    Access { writable: flags & QBR_O_RDWR != 0 }
}

/// What a secret object holds, in base64.
fn secret(id: &CStr) -> Result<CString, RbdError> {
    Ok(secret_base64(id)?)
}

/// `.bdrv_parse_filename`. Puts the options that @filename stands for into @options, or leaves them alone and sets @errp.
/// Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_parse_filename(
    filename: *const c_char,
    options: *mut QDict,
    errp: *mut *mut Error,
) {
    let body = || {
        // SAFETY: the block layer passes a valid string.
        let name = unsafe { arg::text(filename) }?;
        let dict = arg::not_null(options)?;
        let found = rbd::parse_filename(name.to_bytes())?;
        // SAFETY: the dictionary is the block layer's to fill, in the main loop.
        unsafe { put_into_qdict(dict, found) }?;
        Ok::<_, RbdError>(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Rbd, _>(c"qbr_rbd_parse_filename", ptr::null_mut(), errp, body) };
}

/// `.bdrv_open` (7.2: `.bdrv_file_open`). Opens the image that @options name and takes them out of the dictionary.
/// Main loop, not in a coroutine; blocks on the network. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_open(
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
        let mut map = unsafe { take_from_qdict(dict, &RUNTIME_OPTIONS) };
        if !map.contains(PAIRS) && !map.contains(SECRET_PAIRS) {
            // A file name that nobody has parsed yet. Beside the settings of a parsed one it is left over, and refused.
            // SAFETY: as above.
            let name = unsafe { take_from_qdict(dict, &[c"filename"]) };
            map.extend(name);
        }
        let state = rbd::open(map, access(flags), secret, |reason| bs.apply_auto_read_only(reason))?;
        // SAFETY: the place is the node's own, and NULL before open.
        unsafe { guard::store(bs.state(), state) };
        bs.set_flags(FLAGS);
        Ok::<_, RbdError>(0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::call_errp::<Rbd, _>(c"qbr_rbd_open", node, errp, body) }
}

/// `.bdrv_reopen_prepare`. Opens the node's image anew with the flags of the reopen; options can't be changed.
/// Main loop; blocks on the network. 0, or -errno with @errp set and nothing to undo.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_reopen_prepare(
    state: *mut BDRVReopenState,
    _queue: *mut crate::abi::BlockReopenQueue,
    errp: *mut *mut Error,
) -> c_int {
    let open = |old: &Rbd, flags| rbd::reopen(old, access(flags));
    // SAFETY: the block layer passes a valid reopen, and its errp.
    unsafe { reopen::prepare(c"qbr_rbd_reopen_prepare", state, errp, open) }
}

/// `.bdrv_reopen_commit`. The node uses what prepare has opened from here on. Main loop; the node is drained.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_reopen_commit(state: *mut BDRVReopenState) {
    // SAFETY: the block layer passes a valid reopen.
    unsafe { reopen::commit(c"qbr_rbd_reopen_commit", state, |_, old: Rbd, _| old.close()) }
}

/// `.bdrv_reopen_abort`. Closes what prepare has opened. Main loop.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_reopen_abort(state: *mut BDRVReopenState) {
    // SAFETY: the block layer passes a valid reopen.
    unsafe { reopen::abort(c"qbr_rbd_reopen_abort", state, Rbd::close) }
}

/// `.bdrv_close`. Lets go of the image. Main loop; no request is in flight.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_close(bs: *mut BlockDriverState) {
    let node = bs;
    let body = || {
        let Some(bs) = NonNull::new(bs) else { return };
        // SAFETY: the block layer passes a valid node.
        let bs = unsafe { Bs::from_raw(bs) };
        // SAFETY: open stored a node of this type, and no request uses it any more.
        if let Some(node) = unsafe { guard::take::<Rbd>(bs.state()) } {
            node.into_state().close();
        }
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::call::<Rbd>(c"qbr_rbd_close", node, body) }
}

/// `.bdrv_co_create`. Creates an image as blockdev-create asks. Coroutine; does not block. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_create(
    options: *mut BlockdevCreateOptions,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_| {
        // SAFETY: the block layer passes valid options.
        let mut map = unsafe { from_create_options(arg::not_null(options)?) };
        let create = CreateOptions::from_blockdev(&mut map)?;
        let key = create.location.key_secret.as_deref().map(secret).transpose()?;
        rbd::create(rq, create, key).await.map(|()| 0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::create_errp::<RbdError>(c"qbr_rbd_co_create", errp, body) }
}

/// `.bdrv_co_create_opts`. Creates an image as qemu-img create asks. Coroutine; does not block. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_create_opts(
    _drv: *mut crate::abi::BlockDriver,
    filename: *const c_char,
    opts: *mut QemuOpts,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_| {
        // SAFETY: the block layer passes a valid string.
        let name = unsafe { arg::text(filename) }?;
        // SAFETY: the block layer passes valid options, for this call alone.
        let mut opts = unsafe { CreateOpts::from_raw(arg::not_null(opts)?) };
        let mut encryption = OptionMap::default();
        for key in ENCRYPTION_OPTIONS {
            if let Some(value) = opts.take(key) {
                encryption.insert(key.to_string_lossy().into_owned(), value);
            }
        }
        let create = CreateOptions::from_create_opts(
            name.to_bytes(),
            opts.take_size(c"size", 0),
            opts.take_size(c"cluster_size", 0),
            opts.take(c"password-secret"),
            &mut encryption,
        )?;
        let key = create.location.key_secret.as_deref().map(secret).transpose()?;
        rbd::create(rq, create, key).await.map(|()| 0)
    };
    // SAFETY: the block layer's errp.
    unsafe { guard::create_errp::<RbdError>(c"qbr_rbd_co_create_opts", errp, body) }
}

/// `.bdrv_co_truncate`. Sets the length to @offset bytes; @exact and @flags make no difference. Coroutine.
/// 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_truncate(
    bs: *mut BlockDriverState,
    offset: i64,
    _exact: bool,
    prealloc: c_uint,
    _flags: c_uint,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        let length = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        match prealloc {
            QBR_PREALLOC_OFF => state.truncate(rq, length).await.map(|()| 0),
            QBR_PREALLOC_METADATA => Err(preallocation("metadata")),
            QBR_PREALLOC_FALLOC => Err(preallocation("falloc")),
            QBR_PREALLOC_FULL => Err(preallocation("full")),
            other => Err(preallocation(&other.to_string())),
        }
    };
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_rbd_co_truncate", bs, errp, body) }
}

/// `.bdrv_co_getlength` (7.2: `.bdrv_getlength`). Length of the image in bytes, or -errno. In a coroutine or in the main loop;
/// asks nobody.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_getlength(bs: *mut BlockDriverState) -> i64 {
    let failed = |errno: Errno| i64::from(errno.to_ret());
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_rbd_getlength", bs, failed, |_, state: &Rbd| state.length()) }
}

/// `.bdrv_co_get_info` (7.2: `.bdrv_get_info`). Tells the size of the image's objects. In a coroutine or in the main loop; asks
/// nobody. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_get_info(bs: *mut BlockDriverState, info: *mut BlockDriverInfo) -> c_int {
    let body = |_, state: &Rbd| {
        let Some(info) = NonNull::new(info) else { return Errno::EINVAL.to_ret() };
        // SAFETY: the block layer passes a place of its own.
        unsafe { set_cluster_size(info, state.object_size()) };
        0
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_rbd_get_info", bs, Errno::to_ret, body) }
}

/// `.bdrv_get_specific_info`. What there is to say about rbd images alone, for the caller to free; NULL with @errp set. Main
/// loop; asks nobody.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_get_specific_info(
    bs: *mut BlockDriverState,
    errp: *mut *mut Error,
) -> *mut ImageInfoSpecific {
    let failed = |errno: Errno| {
        // SAFETY: the block layer's errp, which is set nowhere else.
        unsafe { set_error(errp, &format!("nothing is known about the image: {errno}"), None) };
        ptr::null_mut()
    };
    let body = |_, state: &Rbd| {
        rbd_info(state.encryption().map(|probe| match probe.version {
            1 => RbdEncryption::Luks,
            _ => RbdEncryption::Luks2,
        }))
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_rbd_get_specific_info", bs, failed, body) }
}

/// `.bdrv_co_preadv`. Reads @bytes bytes from @offset on into @qiov. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_preadv(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    _flags: c_uint,
) -> c_int {
    let (Ok(range), Ok(qiov)) = (ByteRange::new(offset, bytes), arg::not_null(qiov)) else {
        return Errno::EINVAL.to_ret();
    };
    // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
    let iov = unsafe { GuestIov::from_raw(qiov) };
    let simple = async |rq: &_, state: &Rbd, one| state.read_one(rq, one).await.map(|done| done.then_some(0));
    let other = async |rq: &_, state: &Rbd| state.read(rq, &iov, range).await.map(|()| 0);
    // SAFETY: the block layer passes a valid node.
    unsafe {
        guard::request_or(c"qbr_rbd_co_preadv", bs, |state: &Rbd| state.one_read(&iov, range), simple, other)
    }
}

/// `.bdrv_co_pwritev`. Writes @bytes bytes of @qiov from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_pwritev(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    qiov: *mut QEMUIOVector,
    _flags: c_uint,
) -> c_int {
    let (Ok(range), Ok(qiov)) = (ByteRange::new(offset, bytes), arg::not_null(qiov)) else {
        return Errno::EINVAL.to_ret();
    };
    // SAFETY: the vector and its memory are valid until the request ends, which `block_on` sees to.
    let iov = unsafe { GuestIov::from_raw(qiov) };
    let simple = async |rq: &_, state: &Rbd, one| Ok(state.write_one(rq, one).await?.then_some(0));
    let other = async |rq: &_, state: &Rbd| state.write(rq, &iov, range).await.map(|()| 0);
    // SAFETY: the block layer passes a valid node.
    unsafe {
        guard::request_or(
            c"qbr_rbd_co_pwritev",
            bs,
            |state: &Rbd| state.one_write(&iov, range),
            simple,
            other,
        )
    }
}

/// `.bdrv_co_pwrite_zeroes`. Writes @bytes zero bytes from @offset on; with `BDRV_REQ_MAY_UNMAP` in @flags by giving space back.
/// Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_pwrite_zeroes(
    bs: *mut BlockDriverState,
    offset: i64,
    bytes: i64,
    flags: c_uint,
) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        let range = ByteRange::new(offset, bytes)?;
        state.write_zeroes(rq, range, flags & QBR_REQ_MAY_UNMAP != 0).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_co_pwrite_zeroes", bs, body) }
}

/// `.bdrv_co_pdiscard`. Gives back the space of @bytes bytes from @offset on. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_pdiscard(bs: *mut BlockDriverState, offset: i64, bytes: i64) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        state.discard(rq, ByteRange::new(offset, bytes)?).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_co_pdiscard", bs, body) }
}

/// `.bdrv_co_flush_to_disk`. Makes acknowledged writes durable. Coroutine. 0 or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_flush_to_disk(bs: *mut BlockDriverState) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> { state.flush(rq).await.map(|()| 0) };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_co_flush_to_disk", bs, body) }
}

/// `.bdrv_co_block_status`. What the range holds: @pnum bytes that are alike, stored at @map in @file. Coroutine.
/// @mode is `BDRV_WANT_*` of QEMU 10.2 (older: 2 for `want_zero`, else 0). `BDRV_BLOCK_*` or -errno.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_block_status(
    bs: *mut BlockDriverState,
    mode: c_uint,
    offset: i64,
    bytes: i64,
    pnum: *mut i64,
    map: *mut i64,
    file: *mut *mut BlockDriverState,
) -> c_int {
    let mut length = 0;
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        let range = ByteRange::new(offset, bytes)?;
        let status = state.block_status(rq, mode & QBR_WANT_ZERO != 0, range).await?;
        length = status.bytes;
        let kind = if status.zero { QBR_BLOCK_ZERO } else { QBR_BLOCK_DATA };
        Ok(kind | QBR_BLOCK_OFFSET_VALID)
    };
    // SAFETY: the block layer passes a valid node.
    let ret = unsafe { guard::request(c"qbr_rbd_co_block_status", bs, body) };
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

/// `.bdrv_snapshot_create`. Makes the snapshot that @info names. Main loop, not in a coroutine; blocks on the network. 0, or
/// -errno with the reason printed, as there is no place for it.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_snapshot_create(
    bs: *mut BlockDriverState,
    info: *mut QEMUSnapshotInfo,
) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        // SAFETY: the block layer passes a valid description, for this call.
        let (name, id) = unsafe { snapshot_name_and_id(arg::not_null(info)?) };
        state.snapshot_create(rq, name.to_bytes(), id.to_bytes()).await.map_err(printed).map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_snapshot_create", bs, body) }
}

/// `.bdrv_snapshot_goto`. Gives the image the content that it had in the snapshot @id. Main loop, not in a coroutine; blocks on
/// the network. 0, or -errno with the reason printed, as there is no place for it.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_snapshot_goto(bs: *mut BlockDriverState, id: *const c_char) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        // SAFETY: the block layer passes a valid string.
        let id = unsafe { arg::text(id) }?;
        state.snapshot_goto(rq, id.to_bytes()).await.map_err(printed).map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_snapshot_goto", bs, body) }
}

/// `.bdrv_snapshot_delete`. Deletes the snapshot with that @id and @name, either of which may be NULL. Main loop, not in a
/// coroutine; blocks on the network. 0, or -errno with @errp set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_snapshot_delete(
    bs: *mut BlockDriverState,
    id: *const c_char,
    name: *const c_char,
    errp: *mut *mut Error,
) -> c_int {
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        // SAFETY: the block layer passes a valid string, or NULL.
        let id = unsafe { arg::text(id) }.ok();
        // SAFETY: as above.
        let name = unsafe { arg::text(name) }.ok();
        state.snapshot_delete(rq, id.map(CStr::to_bytes), name.map(CStr::to_bytes)).await.map(|()| 0)
    };
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_rbd_snapshot_delete", bs, errp, body) }
}

/// `.bdrv_snapshot_list`. How many snapshots there are, and in @table (for the caller to free; NULL if there is none) which, or
/// -errno. Main loop, not in a coroutine; does not block.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_snapshot_list(
    bs: *mut BlockDriverState,
    table: *mut *mut QEMUSnapshotInfo,
) -> c_int {
    // SAFETY: the block layer passes a place to write to.
    let Some(place) = (unsafe { table.as_mut() }) else { return Errno::EINVAL.to_ret() };
    *place = ptr::null_mut();
    let body = async |rq: &_, state: &Rbd| -> Result<c_int, RbdError> {
        let listed = state.snapshot_list(rq).await?;
        let count = c_int::try_from(listed.len()).map_err(|_| Errno::EFBIG)?;
        let rows: Vec<_> = listed.iter().map(|listed| (listed.name.as_c_str(), listed.size)).collect();
        *place = snapshot_table(&rows)?;
        Ok(count)
    };
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::request(c"qbr_rbd_snapshot_list", bs, body) }
}

/// `.bdrv_inactivate`. Gives the image's lock back before another process goes on with it. Main loop; waits for the cluster, but not
/// for ever, and not for requests in flight, which QEMU drains only afterwards. 0 or -errno: then the node stays active.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_inactivate(bs: *mut BlockDriverState) -> c_int {
    let body = |_, state: &Rbd| state.inactivate().map_or_else(|error| error.errno().to_ret(), |()| 0);
    // SAFETY: the block layer passes a valid node.
    unsafe { guard::query(c"qbr_rbd_inactivate", bs, Errno::to_ret, body) }
}

/// `.bdrv_co_invalidate_cache`. Asks again what the image is like, which somebody else had until now. Coroutine, but waits for the
/// cluster without yielding, for some seconds at most. On failure @errp is set.
///
/// # Safety
/// Pointers as the block layer passes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qbr_rbd_co_invalidate_cache(bs: *mut BlockDriverState, errp: *mut *mut Error) {
    let body = async |_: &_, state: &Rbd| state.invalidate_cache().map(|()| 0);
    // SAFETY: the block layer passes a valid node, and its errp.
    unsafe { guard::request_errp(c"qbr_rbd_co_invalidate_cache", bs, errp, body) };
}

/// A way of preallocation, of which Ceph has none.
fn preallocation(mode: &str) -> RbdError {
    OptionsError::Unsupported { key: "preallocation".into(), value: mode.into() }.into()
}

/// Prints an error that would be a number only where it goes.
fn printed(error: RbdError) -> RbdError {
    report_error(&match error.hint() {
        Some(hint) => format!("{error}\n{hint}"),
        None => error.to_string(),
    });
    error
}
