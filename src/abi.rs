// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What C and Rust must agree on beyond function signatures: versions and flag values.
//!
//! cbindgen copies the constants into `include/qemu-block-rs.h`; `adapter/qbr-host.c` and `adapter/qbr-child.c` assert at compile
//! time that each equals QEMU's own, so a Rust driver never needs a QEMU header.

use crate::sys;

/// Version of the exported functions; raised when a signature or a meaning changes.
pub const QBR_ABI_VERSION: u32 = 2;

/// `BDRV_O_RDWR`: the node is opened for writing.
pub const QBR_O_RDWR: i32 = 0x0002;
/// `BDRV_O_NOCACHE`: the host's page cache is bypassed (`cache.direct=on`).
pub const QBR_O_NOCACHE: i32 = 0x0020;

/// `PREALLOC_MODE_OFF`: no preallocation.
pub const QBR_PREALLOC_OFF: u32 = 0;
/// `PREALLOC_MODE_METADATA`: preallocate metadata only; no protocol driver has any.
pub const QBR_PREALLOC_METADATA: u32 = 1;
/// `PREALLOC_MODE_FALLOC`: reserve space without writing it.
pub const QBR_PREALLOC_FALLOC: u32 = 2;
/// `PREALLOC_MODE_FULL`: write zeroes to all of it.
pub const QBR_PREALLOC_FULL: u32 = 3;

/// `BDRV_BLOCK_DATA`: reading gives data.
pub const QBR_BLOCK_DATA: i32 = 0x01;
/// `BDRV_BLOCK_ZERO`: reading gives zeroes.
pub const QBR_BLOCK_ZERO: i32 = 0x02;
/// `BDRV_BLOCK_OFFSET_VALID`: the range is stored at the reported offset of the reported node.
pub const QBR_BLOCK_OFFSET_VALID: i32 = 0x04;

/// `BDRV_WANT_ZERO` (QEMU 10.2): the caller wants to know where zeroes are. Older QEMU passes a boolean instead.
pub const QBR_WANT_ZERO: u32 = 0x02;

/// `BDRV_REQ_ZERO_WRITE`: what a truncate adds reads as zeroes.
pub const QBR_REQ_ZERO_WRITE: u32 = 0x02;
/// `BDRV_REQ_MAY_UNMAP`: zeroes may be written by giving space back.
pub const QBR_REQ_MAY_UNMAP: u32 = 0x04;
/// `BDRV_REQ_FUA`: the request is durable when it completes.
pub const QBR_REQ_FUA: u32 = 0x10;
/// `BDRV_REQ_WRITE_UNCHANGED`: the write does not change what a reader sees.
pub const QBR_REQ_WRITE_UNCHANGED: u32 = 0x40;
/// `BDRV_REQ_NO_FALLBACK`: zeroes are written quickly or not at all.
pub const QBR_REQ_NO_FALLBACK: u32 = 0x100;

/// `BLK_PERM_CONSISTENT_READ`: what is read is what a guest would see.
pub const QBR_PERM_CONSISTENT_READ: u64 = 0x01;
/// `BLK_PERM_WRITE`: data may be changed.
pub const QBR_PERM_WRITE: u64 = 0x02;
/// `BLK_PERM_WRITE_UNCHANGED`: data may be written that changes nothing for readers.
pub const QBR_PERM_WRITE_UNCHANGED: u64 = 0x04;
/// `BLK_PERM_RESIZE`: the length may be changed.
pub const QBR_PERM_RESIZE: u64 = 0x08;

/// The version of `adapter/qbr-host.h` that the archive was built with.
pub(crate) const HOST_VERSION: u32 = sys::host::QBR_HOST_VERSION;

/// QEMU's `BlockDriver`; only ever passed through.
#[derive(Debug)]
#[repr(C)]
pub struct BlockDriver {
    _opaque: [u8; 0],
}

/// QEMU's queue of reopens; only ever passed through.
#[derive(Debug)]
#[repr(C)]
pub struct BlockReopenQueue {
    _opaque: [u8; 0],
}
