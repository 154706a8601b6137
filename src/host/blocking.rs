// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Threads for library calls that block: they must not stop the event loop, and with it the monitor.
//!
//! A few threads serve all nodes; they come when there is work and go when there is none.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::request::Request;
use super::{thread, unwind};
use crate::errno::Errno;

/// More calls than this wait for one another. A call blocks on the network and not on the processor.
const MAX_THREADS: usize = 16;
/// How long a thread without work stays.
const LINGER: Duration = Duration::from_secs(5);

/// A blocking call on its way to a thread.
type Job = Box<dyn FnOnce() + Send>;

/// The threads and what they have to do.
#[derive(Default)]
struct Pool {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
    /// How many of the jobs, those under way included, only wait for something to happen. They count for no thread.
    waits: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { jobs: VecDeque::new(), idle: 0, threads: 0, waits: 0 });
static WORK: Condvar = Condvar::new();

/// Runs `call` on another thread, from here on; the future waits for its value, and the coroutine sleeps meanwhile.
///
/// # Errors
/// `EIO` if `call` panicked, or the error of starting a thread if there is none to run it.
pub fn spawn_blocking<T, F>(
    request: &Request,
    call: F,
) -> impl Future<Output = Result<T, Errno>> + use<'_, T, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let value = Arc::new(Mutex::new(None));
    let place = Arc::clone(&value);
    let done = request.submit(move |token| {
        // A job that never runs ends its operation too.
        let landing = token.signal();
        enqueue(Box::new(move || {
            if let Ok(value) = unwind::catch(call) {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }
            drop(landing);
        }))
    });
    async move {
        done.await?;
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or(Errno::EIO)
    }
}

/// As [`spawn_blocking`], for a call that only waits for something to happen, maybe for long: other calls don't wait for it. Each
/// such call may have a thread of its own, so it is the caller who sees to it that there are not too many.
///
/// # Errors
/// As for [`spawn_blocking`].
pub async fn spawn_waiting<T, F>(request: &Request, call: F) -> Result<T, Errno>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let wait = Wait::new();
    spawn_blocking(request, move || {
        let _wait = wait;
        call()
    })
    .await
}

/// A call that waits, from before it is in the queue until it has ended.
struct Wait;

impl Wait {
    fn new() -> Self {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.waits = pool.waits.saturating_add(1);
        Self
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.waits = pool.waits.saturating_sub(1);
    }
}

/// Hands a job to a thread, and starts one if none is free.
fn enqueue(job: Job) -> Result<(), Errno> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.idle <= pool.jobs.len() && pool.threads < MAX_THREADS.saturating_add(pool.waits) {
        match thread::spawn("qbr-blocking", work) {
            Ok(()) => pool.threads = pool.threads.saturating_add(1),
            // The threads that are there will come to it.
            Err(_) if pool.threads > 0 => {}
            Err(errno) => return Err(errno),
        }
    }
    pool.jobs.push_back(job);
    drop(pool);
    WORK.notify_one();
    Ok(())
}

/// The life of one thread.
fn work() {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = pool.jobs.pop_front() {
            drop(pool);
            job();
            pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        pool.idle = pool.idle.saturating_add(1);
        let (guard, timeout) = WORK.wait_timeout(pool, LINGER).unwrap_or_else(PoisonError::into_inner);
        pool = guard;
        pool.idle = pool.idle.saturating_sub(1);
        if timeout.timed_out() && pool.jobs.is_empty() {
            pool.threads = pool.threads.saturating_sub(1);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block_on;

    #[test]
    fn spawn_blocking_returns_the_value() {
        assert_eq!(block_on(async |rq| spawn_blocking(rq, || 42).await), Ok(Ok(42)));
    }

    #[test]
    fn calls_of_one_request_are_under_way_together() {
        let both = Arc::new(std::sync::Barrier::new(2));
        let meet = || {
            let both = Arc::clone(&both);
            move || both.wait().is_leader()
        };
        let met = block_on(async |rq| {
            let (one, other) = (spawn_blocking(rq, meet()), spawn_blocking(rq, meet()));
            (one.await, other.await)
        });
        assert!(matches!(met, Ok((Ok(true), Ok(false)) | (Ok(false), Ok(true)))));
    }

    #[test]
    fn spawn_blocking_of_a_panic_is_eio() {
        let result = block_on(async |rq| spawn_blocking(rq, || panic!("on purpose")).await);
        assert_eq!(result, Ok(Err::<(), _>(Errno::EIO)));
    }

    #[test]
    fn calls_do_not_wait_for_those_that_wait() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let open = || *gate.0.lock().unwrap();
        let wait = |gate: Arc<(Mutex<bool>, Condvar)>| {
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
        };
        let waiting: Vec<_> = (0..MAX_THREADS * 2)
            .map(|_| {
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || block_on(async |rq| spawn_waiting(rq, move || wait(gate)).await))
            })
            .collect();
        while POOL.lock().unwrap().waits < MAX_THREADS * 2 {
            std::thread::yield_now();
        }
        let called = block_on(async |rq| spawn_blocking(rq, || 42).await);
        assert_eq!((called, open()), (Ok(Ok(42)), false));
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap(), Ok(Ok(())));
        }
    }

    #[test]
    fn spawn_blocking_of_many_calls_runs_them_all() {
        let callers: Vec<_> = (0..64)
            .map(|n| std::thread::spawn(move || block_on(async |rq| spawn_blocking(rq, move || n).await)))
            .collect();
        for (n, caller) in callers.into_iter().enumerate() {
            assert_eq!(caller.join().unwrap(), Ok(Ok(n)));
        }
    }
}
