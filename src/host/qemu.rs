// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The host services for nodes, reopens and messages, wrapped one by one. The others are wrapped in the modules of what they are about.

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::{self, NonNull};

use super::child::{Child, Flags};
use super::error::HostError;
use crate::errno::Errno;
use crate::sys::host as raw;
use crate::sys::host::{BDRVReopenState, BdrvChild, BlockDriverState, QDict, QbrFlags, QbrLimits};

/// A message in the form that C takes; inner NULs, which only garbage contains, become question marks.
#[must_use]
pub fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// Takes a string that a service has returned; `None` for NULL.
///
/// # Safety
/// `text` is NULL, or a string that is ours to free.
pub(super) unsafe fn take_string(text: *mut c_char) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller promises a string.
    let copy = unsafe { CStr::from_ptr(text) }.to_owned();
    // SAFETY: the string is ours and not used again.
    unsafe { raw::qbr_host_free(text.cast()) }
    Some(copy)
}

/// A node, as an opaque handle.
#[derive(Debug, Clone, Copy)]
pub struct Bs(NonNull<BlockDriverState>);

impl Bs {
    /// Wraps what a callback received.
    ///
    /// # Safety
    /// `bs` stays valid as long as the wrapper is used.
    #[must_use]
    pub unsafe fn from_raw(bs: NonNull<BlockDriverState>) -> Self {
        Self(bs)
    }

    /// The handle for C.
    #[must_use]
    pub fn as_raw(self) -> *mut BlockDriverState {
        self.0.as_ptr()
    }

    /// The place of the driver's state pointer.
    #[must_use]
    pub fn state(self) -> *mut *mut c_void {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_bs_state(self.0.as_ptr()) }
    }

    /// The name to call the node by.
    #[must_use]
    pub fn name(self) -> String {
        // SAFETY: valid by the constructor's contract.
        let name = unsafe { raw::qbr_host_bs_name(self.0.as_ptr()) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: the service returns a NUL-terminated string that is valid until the next graph change.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Its length in bytes as the block layer knows it, in whole sectors of 512 bytes. Nobody is asked for it.
    #[must_use]
    pub fn known_length(self) -> i64 {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_bs_length(self.0.as_ptr()) }
    }

    /// Whether it leaves its image to somebody else. It may not write then.
    #[must_use]
    pub fn is_inactive(self) -> bool {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_bs_is_inactive(self.0.as_ptr()) }
    }

    /// Tells the block layer what requests the node takes.
    pub fn set_limits(self, limits: &QbrLimits) {
        // SAFETY: valid by the constructor's contract; the service copies the limits.
        unsafe { raw::qbr_host_bs_set_limits(self.0.as_ptr(), ptr::from_ref(limits)) }
    }

    /// Tells the block layer which request flags the node takes.
    pub fn set_flags(self, flags: Flags) {
        let flags = QbrFlags { write: flags.write, zero: flags.zero, truncate: flags.truncate };
        // SAFETY: valid by the constructor's contract; the service copies the flags.
        unsafe { raw::qbr_host_bs_set_flags(self.0.as_ptr(), &raw const flags) }
    }

    /// Opens the node that `options` describe under `name`, as a child that holds data.
    ///
    /// # Errors
    /// The block layer's.
    ///
    /// # Safety
    /// `options` is a valid dictionary that nobody else uses during the call, which is in the main loop.
    pub unsafe fn open_child(self, options: NonNull<QDict>, name: &str) -> Result<Child, HostError> {
        attached(|errp| {
            let name = c_text(name);
            // SAFETY: the caller's promise; the name lives until the call returns.
            unsafe {
                raw::qbr_host_child_open(
                    self.0.as_ptr(),
                    options.as_ptr(),
                    name.as_ptr(),
                    raw::QBR_CHILD_DATA,
                    errp,
                )
            }
        })
    }

    /// Opens the node that `options` describe under "file", as the one that this one filters.
    ///
    /// # Errors
    /// The block layer's.
    ///
    /// # Safety
    /// As for [`Bs::open_child`].
    pub unsafe fn open_filtered(self, options: NonNull<QDict>) -> Result<Child, HostError> {
        attached(|errp| {
            // SAFETY: the caller's promise.
            unsafe { raw::qbr_host_filtered_open(self.0.as_ptr(), options.as_ptr(), errp) }
        })
    }

    /// Attaches a node as a child that holds data.
    ///
    /// # Errors
    /// The block layer's.
    ///
    /// # Safety
    /// `node` is valid, and QEMU has called to have it attached.
    pub unsafe fn attach_child(
        self,
        node: NonNull<BlockDriverState>,
        name: &str,
    ) -> Result<Child, HostError> {
        attached(|errp| {
            let name = c_text(name);
            // SAFETY: the caller's promise; the name lives until the call returns.
            unsafe {
                raw::qbr_host_child_attach(
                    self.0.as_ptr(),
                    node.as_ptr(),
                    name.as_ptr(),
                    raw::QBR_CHILD_DATA,
                    errp,
                )
            }
        })
    }

    /// Detaches a child.
    ///
    /// # Safety
    /// QEMU has called to have it detached, and nobody uses it any more.
    pub unsafe fn detach_child(self, child: Child) {
        // SAFETY: the caller's promise.
        unsafe { raw::qbr_host_child_detach(self.0.as_ptr(), child.as_raw()) }
    }

    /// Detaches children at close, or in an open that failed.
    ///
    /// # Safety
    /// Nobody uses them any more, and the call is in the main loop without a lock of the block graph.
    pub unsafe fn close_children(self, children: &[Child]) {
        let list = raw_children(children);
        // SAFETY: the caller's promise; the list lives until the call returns.
        unsafe { raw::qbr_host_children_close(self.0.as_ptr(), list.as_ptr(), list.len()) }
    }

    /// Makes the node read-only if its user allowed that.
    ///
    /// # Errors
    /// The block layer's own, when `auto-read-only` is off.
    pub fn apply_auto_read_only(self, reason: &str) -> Result<(), Errno> {
        let reason = c_text(reason);
        // SAFETY: valid by the constructor's contract; a NULL error pointer is allowed.
        let ret =
            unsafe { raw::qbr_host_apply_auto_read_only(self.0.as_ptr(), reason.as_ptr(), ptr::null_mut()) };
        if ret < 0 {
            return Err(Errno::from_code(ret.saturating_neg()));
        }
        Ok(())
    }
}

/// A reopen in progress, as an opaque handle.
#[derive(Debug, Clone, Copy)]
pub struct Reopen(NonNull<BDRVReopenState>);

impl Reopen {
    /// Wraps what a callback received.
    ///
    /// # Safety
    /// `state` stays valid as long as the wrapper is used.
    #[must_use]
    pub unsafe fn from_raw(state: NonNull<BDRVReopenState>) -> Self {
        Self(state)
    }

    /// The place of the driver's state pointer for this reopen.
    #[must_use]
    pub fn state(self) -> *mut *mut c_void {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_reopen_state(self.0.as_ptr()) }
    }

    /// The node it is about.
    #[must_use]
    pub fn bs(self) -> Option<NonNull<BlockDriverState>> {
        // SAFETY: valid by the constructor's contract.
        NonNull::new(unsafe { raw::qbr_host_reopen_bs(self.0.as_ptr()) })
    }

    /// The flags it asks for.
    #[must_use]
    pub fn flags(self) -> i32 {
        // SAFETY: valid by the constructor's contract.
        unsafe { raw::qbr_host_reopen_flags(self.0.as_ptr()) }
    }
}

/// Calls a service that returns a child or sets an error.
fn attached(service: impl FnOnce(*mut *mut raw::Error) -> *mut BdrvChild) -> Result<Child, HostError> {
    let mut error = ptr::null_mut();
    let child = service(&raw mut error);
    // SAFETY: the error is ours, if there is one.
    let error = unsafe { HostError::from_raw(error) };
    // SAFETY: the service has attached the child.
    NonNull::new(child).map(|child| unsafe { Child::from_raw(child) }).ok_or(error)
}

/// Children as C takes them.
fn raw_children(children: &[Child]) -> Vec<*mut BdrvChild> {
    children.iter().map(|child| child.as_raw()).collect()
}

/// Adds the complete options of children to `target`, as the list "children".
///
/// # Safety
/// `target` is a valid dictionary that nobody else uses during the call.
pub unsafe fn gather_children_options(target: NonNull<QDict>, children: &[Child]) {
    let list = raw_children(children);
    // SAFETY: the caller's promise; the list lives until the call returns.
    unsafe { raw::qbr_host_children_options(target.as_ptr(), list.as_ptr(), list.len()) }
}

/// What a child was doing when it failed or lost a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuorumOp {
    /// Reading.
    Read,
    /// Writing data or zeroes, or discarding.
    Write,
    /// Flushing.
    Flush,
}

/// What the events of a quorum say about a request.
#[derive(Debug, Clone, Copy)]
pub struct QuorumEvent {
    /// What it does.
    pub op: QuorumOp,
    /// The first sector of 512 bytes.
    pub sector: i64,
    /// How many of them.
    pub sectors: i64,
}

impl QuorumEvent {
    /// Sends `QUORUM_REPORT_BAD`; without an error the child has lost a vote.
    pub fn bad(&self, child: Child, error: Option<Errno>) {
        let op = match self.op {
            QuorumOp::Read => raw::QBR_QUORUM_READ,
            QuorumOp::Write => raw::QBR_QUORUM_WRITE,
            QuorumOp::Flush => raw::QBR_QUORUM_FLUSH,
        };
        let error = error.map_or(0, Errno::to_ret);
        // SAFETY: the child is attached.
        unsafe { raw::qbr_host_quorum_report_bad(op, error, child.as_raw(), self.sector, self.sectors) }
    }

    /// Sends `QUORUM_FAILURE` of a node.
    pub fn failure(&self, bs: Bs) {
        // SAFETY: valid by the constructor's contract of `Bs`.
        unsafe { raw::qbr_host_quorum_failure(bs.0.as_ptr(), self.sector, self.sectors) }
    }
}

/// Prints a line and ends the process with status 1.
pub fn exit_with(line: &str) -> ! {
    let line = c_text(line);
    // SAFETY: the string lives as long as the process.
    unsafe { raw::qbr_host_exit_with(line.as_ptr()) }
}

/// Prints an error where QEMU prints its errors.
pub fn report_error(message: &str) {
    let message = c_text(message);
    // SAFETY: the string lives until the call returns.
    unsafe { raw::qbr_host_error_report(message.as_ptr()) }
}

/// Prints a warning where QEMU prints its warnings.
pub fn report_warning(message: &str) {
    let message = c_text(message);
    // SAFETY: the string lives until the call returns.
    unsafe { raw::qbr_host_warn_report(message.as_ptr()) }
}
