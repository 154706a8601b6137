// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Threads of our own inside somebody else's program.

use std::mem::MaybeUninit;
use std::thread::Builder;

use crate::errno::Errno;

/// Starts a detached thread that no signal is delivered to: signals are QEMU's business.
///
/// # Errors
/// What the system gives for a thread that it can't start (`EAGAIN`).
pub fn spawn(name: &str, main: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset() initialises the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was initialised above, and the call initialises `old`. A new thread inherits the mask.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) };
    let started = Builder::new().name(name.to_owned()).spawn(main);
    // SAFETY: the first pthread_sigmask() initialised `old`.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    match started {
        // Dropping the handle detaches the thread.
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_code(error.raw_os_error().unwrap_or(libc::EAGAIN))),
    }
}

/// Does `work` on another thread, behind which every other one of the process goes first, and waits for it. Who may take a lock
/// afterwards must not be such a thread: there is no way back. For threads of our own, whose blocked signals it inherits.
pub fn run_behind(name: &str, work: impl FnMut() + Send) {
    let mut work = work;
    let mut behind = || {
        step_back();
        work();
    };
    let started = std::thread::scope(|scope| {
        Builder::new().name(name.to_owned()).spawn_scoped(scope, &mut behind).is_ok()
    });
    if !started {
        behind();
    }
}

/// Lets every other thread go first from here on. Where the system refuses that, nothing changes.
fn step_back() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameters are a local variable. Of all ways to be slow this is the one that QEMU's
    // sandbox allows.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
}
