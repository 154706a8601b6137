// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What every export has around it: no panic leaves it, and a node whose code panicked is not trusted again.
//!
//! After a panic the request gets `-EIO`, the node is poisoned, later calls fail at once, and close still works.

use std::ffi::{c_int, c_void, CStr};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::errno::{Errno, ToErrno};
use crate::host::qemu::{self, Bs};
use crate::host::unwind::{self, Panicked};
use crate::host::{block_on, set_error, HostError, Request};
use crate::sys::host::{BlockDriverState, Error};

/// A driver's state in a node.
#[derive(Debug)]
pub(super) struct Node<T> {
    poisoned: AtomicBool,
    state: T,
}

impl<T> Node<T> {
    /// Moves a state to where C can point to it.
    fn into_raw(state: T) -> *mut c_void {
        Box::into_raw(Box::new(Self { poisoned: AtomicBool::new(false), state })).cast()
    }

    /// The state, of a node that is gone.
    pub(super) fn into_state(self) -> T {
        self.state
    }

    /// The node behind a state pointer.
    ///
    /// # Safety
    /// `slot` is NULL or the place of a pointer that is NULL or came from `into_raw` of the same `T`, and stays so for `'a`.
    unsafe fn borrow<'a>(slot: *mut *mut c_void) -> Option<&'a Self> {
        // SAFETY: the caller's promise.
        let slot = unsafe { slot.as_ref() }?;
        // SAFETY: as above; from here on only shared references to the node exist until `take`.
        unsafe { slot.cast::<Self>().cast_const().as_ref() }
    }
}

/// Puts a state into the place that C keeps for it. A state that is there already is leaked rather than pulled away from
/// requests that may use it.
///
/// # Safety
/// `slot` is NULL or the place of a pointer.
pub(super) unsafe fn store<T>(slot: *mut *mut c_void, state: T) {
    // SAFETY: the caller's promise.
    if let Some(slot) = unsafe { slot.as_mut() } {
        *slot = Node::into_raw(state);
    }
}

/// Puts back what [`take`] returned.
///
/// # Safety
/// `slot` is NULL or the place of a pointer.
pub(super) unsafe fn put<T>(slot: *mut *mut c_void, node: Box<Node<T>>) {
    // SAFETY: the caller's promise.
    if let Some(slot) = unsafe { slot.as_mut() } {
        *slot = Box::into_raw(node).cast();
    }
}

/// Takes the state out of its place.
///
/// # Safety
/// As for `Node::borrow`, and nobody uses the node any more.
pub(super) unsafe fn take<T>(slot: *mut *mut c_void) -> Option<Box<Node<T>>> {
    // SAFETY: the caller's promise.
    let slot = unsafe { slot.as_mut() }?;
    let raw = NonNull::new(std::mem::replace(slot, ptr::null_mut()))?;
    // SAFETY: it came from `Box::into_raw` in `into_raw`, and was replaced by NULL just now.
    Some(unsafe { Box::from_raw(raw.cast::<Node<T>>().as_ptr()) })
}

/// The state of a node that is being closed, poisoned or not.
///
/// # Safety
/// As for `Node::borrow`.
pub(super) unsafe fn closing<'a, T>(slot: *mut *mut c_void) -> Option<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { Node::<T>::borrow(slot) }.map(|node| &node.state)
}

/// Runs an export that returns nothing and does something else with its node than a request.
///
/// # Safety
/// As for `request`.
pub(super) unsafe fn call<T>(export: &'static CStr, bs: *mut BlockDriverState, body: impl FnOnce()) {
    let result = unwind::catch(|| {
        panic_if_armed(export);
        body();
    });
    if let Err(panicked) = result {
        // SAFETY: the caller's promise.
        unsafe { poison::<T>(bs) }
        report(export, panicked);
    }
}

/// Marks a node as one that is not to be trusted, if it is open.
///
/// # Safety
/// As for `request`.
unsafe fn poison<T>(bs: *mut BlockDriverState) {
    // SAFETY: the caller's promise.
    if let Ok(node) = unsafe { usable_node::<T>(bs) } {
        node.poisoned.store(true, Ordering::Release);
    }
}

/// Runs a request of a node: the driver's future, with the coroutine asleep while it is pending.
///
/// # Safety
/// `bs` is NULL or a node whose state is NULL or a `Node<T>`, and stays so during the call.
pub(super) unsafe fn request<T, E: ToErrno>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    body: impl AsyncFnOnce(&Request, &T) -> Result<c_int, E>,
) -> c_int {
    // SAFETY: the caller's promise.
    let node = match unsafe { usable_node::<T>(bs) } {
        Ok(node) => node,
        Err(errno) => return errno.to_ret(),
    };
    let result = block_on(async |rq| {
        panic_if_armed(export);
        body(rq, &node.state).await
    });
    finish(export, Some(node), result)
}

/// As [`request`], for one that nearly always is simple: `prepare` finds out, and `simple` then does it with a future of its own,
/// which is small. Where it says no, and where `simple` answers `None`, `other` does it.
///
/// # Safety
/// As for `request`.
pub(super) unsafe fn request_or<'a, T: 'a, P, E: ToErrno>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    prepare: impl FnOnce(&'a T) -> Option<P>,
    simple: impl AsyncFnOnce(&Request, &'a T, P) -> Result<Option<c_int>, E>,
    other: impl AsyncFnOnce(&Request, &T) -> Result<c_int, E>,
) -> c_int {
    // SAFETY: the caller's promise.
    let node = match unsafe { usable_node::<T>(bs) } {
        Ok(node) => node,
        Err(errno) => return errno.to_ret(),
    };
    let prepared = unwind::catch(|| {
        panic_if_armed(export);
        prepare(&node.state)
    });
    match prepared {
        Ok(Some(prepared)) => match block_on(async |rq| simple(rq, &node.state, prepared).await) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(ret))) => return ret,
            Ok(Err(error)) => return error.errno().to_ret(),
            Err(panicked) => return finish::<T, E>(export, Some(node), Err(panicked)),
        },
        Ok(None) => {}
        Err(panicked) => return finish::<T, E>(export, Some(node), Err(panicked)),
    }
    // SAFETY: the caller's promise.
    unsafe { request_apart(export, bs, other) }
}

/// As [`request`], out of the way of the frequent case.
///
/// # Safety
/// As for `request`.
#[cold]
#[inline(never)]
unsafe fn request_apart<T, E: ToErrno>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    body: impl AsyncFnOnce(&Request, &T) -> Result<c_int, E>,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { request(export, bs, body) }
}

/// Runs a request of a node that only ever sleeps in operations on children, which run in the request's own coroutine: there is
/// no future to be polled then.
///
/// # Safety
/// As for `request`.
pub(super) unsafe fn direct<T, E: ToErrno>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    body: impl FnOnce(&T) -> Result<c_int, E>,
) -> c_int {
    let Some(bs) = NonNull::new(bs) else { return Errno::EINVAL.to_ret() };
    // SAFETY: the caller's promise.
    let bs = unsafe { Bs::from_raw(bs) };
    // SAFETY: as above.
    unsafe { direct_at(export, bs.state(), body) }
}

/// As [`direct`], of the node whose state is at `slot`.
///
/// # Safety
/// As for `Node::borrow`, during the call.
#[inline]
pub(super) unsafe fn direct_at<T, E: ToErrno>(
    export: &'static CStr,
    slot: *mut *mut c_void,
    body: impl FnOnce(&T) -> Result<c_int, E>,
) -> c_int {
    // SAFETY: the caller's promise.
    let node = match unsafe { usable_at::<T>(slot) } {
        Ok(node) => node,
        Err(errno) => return errno.to_ret(),
    };
    if is_armed() {
        if let Err(panicked) = panic_ordered(export) {
            return finish::<T, E>(export, Some(node), Err(panicked));
        }
    }
    finish(export, Some(node), unwind::catch(|| body(&node.state)))
}

/// Does what a test has ordered, out of the way of all other calls.
#[cold]
#[inline(never)]
fn panic_ordered(export: &'static CStr) -> Result<(), Panicked> {
    unwind::catch(|| panic_if_it_is(export))
}

/// As [`request`], for an export that sets an error: on failure it is always set, as callers rely on it.
///
/// # Safety
/// As for `request`, and `errp` is NULL or points to an error that is not set.
pub(super) unsafe fn request_errp<T, E: ToErrno + Explain>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    errp: *mut *mut Error,
    body: impl AsyncFnOnce(&Request, &T) -> Result<c_int, E>,
) -> c_int {
    let mut failure = None;
    // SAFETY: the caller's promise.
    let ret = unsafe {
        request(export, bs, async |rq, state: &T| {
            body(rq, state).await.map_err(|error| keep(&mut failure, error))
        })
    };
    // SAFETY: the caller's promise; nothing else sets it.
    unsafe { explain(export, ret, failure, errp) }
}

/// Runs work that belongs to no node yet, with the coroutine asleep while it is pending; on failure sets the error.
///
/// # Safety
/// `errp` is NULL or points to an error that is not set.
pub(super) unsafe fn create_errp<E: ToErrno + Explain>(
    export: &'static CStr,
    errp: *mut *mut Error,
    body: impl AsyncFnOnce(&Request) -> Result<c_int, E>,
) -> c_int {
    let mut failure = None;
    let result = block_on(async |rq| {
        panic_if_armed(export);
        body(rq).await.map_err(|error| keep(&mut failure, error))
    });
    let ret = finish::<(), Errno>(export, None, result);
    // SAFETY: the caller's promise; nothing else sets it.
    unsafe { explain(export, ret, failure, errp) }
}

/// Runs work outside of coroutines that may block, for a node that may or may not be open; on failure sets the error.
///
/// # Safety
/// As for `request`, and `errp` is NULL or points to an error that is not set.
pub(super) unsafe fn call_errp<T, E: ToErrno + Explain>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    errp: *mut *mut Error,
    body: impl FnOnce() -> Result<c_int, E>,
) -> c_int {
    let mut failure = None;
    let result = unwind::catch(|| {
        panic_if_armed(export);
        body().map_err(|error| keep(&mut failure, error))
    });
    if result.is_err() {
        // SAFETY: the caller's promise.
        unsafe { poison::<T>(bs) }
    }
    let ret = finish::<(), Errno>(export, None, result);
    // SAFETY: the caller's promise; nothing else sets it.
    unsafe { explain(export, ret, failure, errp) }
}

/// An error that can be told to a user.
pub(super) trait Explain: std::fmt::Display {
    /// What to add to the message.
    fn hint(&self) -> Option<&str> {
        None
    }

    /// QEMU's own error, which then says everything that is to be said.
    fn into_host(self) -> Option<HostError>
    where
        Self: Sized,
    {
        None
    }
}

/// What to tell the user.
#[derive(Debug)]
struct Message {
    text: String,
    hint: Option<String>,
    host: Option<HostError>,
}

/// Why an export failed.
type Failure = Option<Message>;

/// Remembers what to tell the user, and reduces the error to its number.
fn keep<E: ToErrno + Explain>(failure: &mut Failure, error: E) -> Errno {
    let errno = error.errno();
    let (text, hint) = (error.to_string(), error.hint().map(str::to_owned));
    *failure = Some(Message { text, hint, host: error.into_host() });
    errno
}

/// Sets the error of a failed export.
///
/// # Safety
/// `errp` is NULL or points to an error that is not set.
unsafe fn explain(export: &'static CStr, ret: c_int, failure: Failure, errp: *mut *mut Error) -> c_int {
    if ret < 0 {
        let message = failure.unwrap_or_else(|| {
            let errno = Errno::from_code(ret.saturating_neg());
            Message { text: format!("{}: {errno}", export.to_string_lossy()), hint: None, host: None }
        });
        // SAFETY: the caller's promise.
        let told = message.host.is_some_and(|error| unsafe { error.propagate(errp) });
        if !told {
            // SAFETY: the caller's promise, and nothing was set above.
            unsafe { set_error(errp, &message.text, message.hint.as_deref()) }
        }
    }
    ret
}

/// Runs something with a node that sleeps at most in operations on children, which run in the request's own coroutine. `fallback` is
/// what a panic or a missing node returns.
///
/// # Safety
/// As for `request`.
pub(super) unsafe fn query<T, R>(
    export: &'static CStr,
    bs: *mut BlockDriverState,
    fallback: impl FnOnce(Errno) -> R,
    body: impl FnOnce(Bs, &T) -> R,
) -> R {
    // SAFETY: the caller's promise.
    let node = match unsafe { usable_node::<T>(bs) } {
        Ok(node) => node,
        Err(errno) => return fallback(errno),
    };
    let Some(bs) = NonNull::new(bs) else { return fallback(Errno::EINVAL) };
    // SAFETY: valid during the call (the caller's promise).
    let bs = unsafe { Bs::from_raw(bs) };
    match unwind::catch(|| {
        panic_if_armed(export);
        body(bs, &node.state)
    }) {
        Ok(value) => value,
        Err(panicked) => {
            node.poisoned.store(true, Ordering::Release);
            report(export, panicked);
            fallback(Errno::EIO)
        }
    }
}

/// What an export returns.
fn finish<T, E: ToErrno>(
    export: &'static CStr,
    node: Option<&Node<T>>,
    result: Result<Result<c_int, E>, Panicked>,
) -> c_int {
    match result {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => error.errno().to_ret(),
        Err(panicked) => {
            if let Some(node) = node {
                node.poisoned.store(true, Ordering::Release);
            }
            report(export, panicked);
            Errno::EIO.to_ret()
        }
    }
}

/// The node, if it can be used.
///
/// # Safety
/// As for `request`.
unsafe fn usable_node<'a, T>(bs: *mut BlockDriverState) -> Result<&'a Node<T>, Errno> {
    let bs = NonNull::new(bs).ok_or(Errno::EINVAL)?;
    // SAFETY: the caller's promise.
    let bs = unsafe { Bs::from_raw(bs) };
    // SAFETY: the caller's promise.
    unsafe { usable_at(bs.state()) }
}

/// The node whose state is at `slot`, if it can be used.
///
/// # Safety
/// As for `Node::borrow`.
#[inline]
unsafe fn usable_at<'a, T>(slot: *mut *mut c_void) -> Result<&'a Node<T>, Errno> {
    // SAFETY: the caller's promise.
    let node = unsafe { Node::<T>::borrow(slot) }.ok_or(Errno::ENOMEDIUM)?;
    if node.poisoned.load(Ordering::Acquire) {
        return Err(Errno::EIO);
    }
    Ok(node)
}

/// The state of a node for an export that is neither a request nor a query.
///
/// # Safety
/// As for `request`.
pub(super) unsafe fn state<'a, T>(bs: *mut BlockDriverState) -> Result<&'a T, Errno> {
    // SAFETY: the caller's promise.
    unsafe { usable_node::<T>(bs) }.map(|node| &node.state)
}

/// Says which export panicked. The panic itself has been printed by then.
fn report(export: &'static CStr, _: Panicked) {
    // Reporting must not panic either, and there is nobody left to tell if it does.
    drop(unwind::catch(|| {
        qemu::report_error(&format!(
            "{}: internal error (panic); the request failed, and the node takes no more requests",
            export.to_string_lossy()
        ));
    }));
}

/// The export that the next call of panics in; NULL in the life of every process but a test's.
static ARMED: AtomicPtr<std::ffi::c_char> = AtomicPtr::new(ptr::null_mut());

/// Makes the next call of an export panic.
pub(super) fn arm_panic(export: Option<&'static CStr>) {
    ARMED.store(export.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut()), Ordering::Release);
}

/// Panics if a test wants this export to.
#[inline]
fn panic_if_armed(export: &'static CStr) {
    if is_armed() {
        panic_if_it_is(export);
    }
}

/// Whether a test wants some export to panic.
#[inline]
fn is_armed() -> bool {
    !ARMED.load(Ordering::Relaxed).is_null()
}

/// The rare part of [`panic_if_armed`].
#[cold]
fn panic_if_it_is(export: &'static CStr) {
    let armed = ARMED.load(Ordering::Acquire);
    if armed.is_null() {
        return;
    }
    // SAFETY: `qbr_test_panic_in` is given strings that are valid for ever.
    if unsafe { CStr::from_ptr(armed) } == export {
        ARMED.store(ptr::null_mut(), Ordering::Release);
        #[expect(clippy::panic, reason = "this is the panic that a test has ordered")]
        {
            panic!("injected by a test");
        }
    }
}
