// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Bounce buffers, kept from one request to the next.
//!
//! New memory costs a page fault for every 4 KiB, which is most of what a read of several children would cost. So memory is
//! kept as long as requests need it: what nobody has needed for a second goes back to the system. All requests of a node
//! together use at most [`LIMIT_PER_BUFFER`] for each of the buffers that a request takes; what doesn't fit waits its turn, and
//! a request that could never fit has the pool to itself.

mod class;
mod state;

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::class::{capacity_of, class_of};
use self::state::{State, Waiting};
use super::request::Request;
use super::thread::spawn as spawn_thread;
use crate::errno::Errno;

/// Bytes of bounce buffers per buffer of a request. That is 64 reads of 1 MiB at a time.
const LIMIT_PER_BUFFER: usize = 64 << 20;
/// How often to look for memory that nobody needs any more.
const PERIOD: Duration = Duration::from_secs(1);

/// What a pool keeps: one or more buffers of the same size, with what belongs to them.
pub trait Pooled: Default + Send + 'static {
    /// `count` buffers of `capacity` bytes each.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn new(count: usize, capacity: usize) -> Result<Self, Errno>;

    /// How many buffers there are; none in the default value.
    fn count(&self) -> usize;

    /// Bytes of memory of all of them together.
    fn footprint(&self) -> usize;
}

/// A node's buffers.
#[derive(Debug)]
pub struct Pool<T: Pooled>(Arc<Shared<T>>);

/// What the node and the thread that gives memory back have in common.
#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// The node goes.
    closing: Condvar,
}

impl<T: Pooled> Default for Pool<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Pooled> Pool<T> {
    /// A pool with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::default()), closing: Condvar::new() }))
    }

    /// `count` buffers without memory.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn take_bare(&self, count: usize) -> Result<Loan<'_, T>, Errno> {
        self.loan(count, 0, 0, self.0.pop(0, count))
    }

    /// `count` buffers of at least `bytes` bytes each; `None` if other requests use too much, and the caller has to use
    /// [`Pool::take_in_turn`]. They are two, as a request that needn't wait is quicker without a future.
    ///
    /// # Errors
    /// `ENOMEM`, and `EINVAL` for more than 2 GiB.
    pub fn take(&self, count: usize, bytes: usize) -> Result<Option<Loan<'_, T>>, Errno> {
        let class = class_of(bytes)?;
        let need = count.saturating_mul(capacity_of(class));
        match self.0.try_take(class, count, need, count.saturating_mul(LIMIT_PER_BUFFER)) {
            Some(buffers) => self.loan(count, class, need, buffers).map(Some),
            None => Ok(None),
        }
    }

    /// As [`Pool::take`], but waits until it is this request's turn.
    ///
    /// # Errors
    /// `ENOMEM`, and `EINVAL` for more than 2 GiB.
    pub async fn take_in_turn(&self, rq: &Request, count: usize, bytes: usize) -> Result<Loan<'_, T>, Errno> {
        let class = class_of(bytes)?;
        let need = count.saturating_mul(capacity_of(class));
        self.wait_for(rq, need).await?;
        self.loan(count, class, need, self.0.pop(class, count))
    }

    /// Lends buffers, new ones if there are none. What was admitted is given back with the loan, also if it fails.
    fn loan(
        &self,
        count: usize,
        class: usize,
        need: usize,
        buffers: Option<T>,
    ) -> Result<Loan<'_, T>, Errno> {
        let is_new = buffers.is_none();
        let mut loan = Loan { pool: self, class, need, buffers: buffers.unwrap_or_default() };
        if is_new {
            loan.buffers = T::new(count, capacity_of(class))?;
        }
        Ok(loan)
    }

    /// Waits until the request may use so many bytes, which count as used then.
    async fn wait_for(&self, rq: &Request, bytes: usize) -> Result<(), Errno> {
        let turn = rq.submit(|token| {
            let mut state = self.0.lock();
            let admitted = token.signal();
            if state.admit(bytes) {
                drop(state);
                drop(admitted);
            } else {
                state.waiting.push_back(Waiting::new(bytes, admitted));
            }
            Ok(())
        });
        turn.await.map(drop)
    }
}

impl<T: Pooled> Drop for Pool<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.closing.notify_all();
    }
}

impl<T: Pooled> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a request, with a limit for all requests together, and gives it free buffers of a class if there are some. `None`
    /// if it has to wait.
    fn try_take(&self, class: usize, count: usize, need: usize, limit: usize) -> Option<Option<T>> {
        let mut state = self.lock();
        state.limit = limit;
        if !state.admit(need) {
            return None;
        }
        Some(Self::pop_from(state, class, count))
    }

    /// Free buffers of a class, or none and room for new ones.
    fn pop(&self, class: usize, count: usize) -> Option<T> {
        Self::pop_from(self.lock(), class, count)
    }

    /// As [`Shared::pop`], with the lock that the caller has.
    fn pop_from(mut state: MutexGuard<'_, State<T>>, class: usize, count: usize) -> Option<T> {
        let buffers = state.pop_for(class, count);
        let surplus = if buffers.is_none() { state.make_room() } else { Vec::new() };
        // Giving memory back takes its time, which other requests needn't wait for.
        drop(state);
        drop(surplus);
        buffers
    }

    /// Takes back what a request has used.
    fn give_back(self: &Arc<Self>, class: usize, need: usize, buffers: T) {
        let mut state = self.lock();
        state.in_use = state.in_use.saturating_sub(need);
        state.push(class, buffers);
        let needs_thread = !state.has_thread && state.kept > 0;
        state.has_thread |= needs_thread;
        let admitted = if state.waiting.is_empty() { Vec::new() } else { state.admit_waiting() };
        drop(state);
        drop(admitted);
        if needs_thread {
            let shared = Arc::clone(self);
            // Without a thread the memory stays until the node goes or the next request tries again.
            if spawn_thread("qbr-pool", move || shared.watch()).is_err() {
                self.lock().has_thread = false;
            }
        }
    }

    /// The life of the thread that gives memory back: it goes when there is none, and when the node goes.
    fn watch(&self) {
        let mut state = self.lock();
        while !state.closed && (state.kept > 0 || state.in_use > 0) {
            let (guard, timeout) =
                self.closing.wait_timeout(state, PERIOD).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() {
                let idle = state.take_idle();
                // Giving memory back takes its time, which requests needn't wait for.
                drop(state);
                drop(idle);
                state = self.lock();
            }
        }
        state.has_thread = false;
    }
}

/// Buffers on loan from a pool, which has them back when this is dropped.
#[derive(Debug)]
pub struct Loan<'a, T: Pooled> {
    pool: &'a Pool<T>,
    class: usize,
    need: usize,
    buffers: T,
}

impl<T: Pooled> Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffers
    }
}

impl<T: Pooled> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.buffers
    }
}

impl<T: Pooled> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.pool.0.give_back(self.class, self.need, std::mem::take(&mut self.buffers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block_on;
    use crate::host::Lanes;
    use std::sync::mpsc;
    use std::thread;

    const MIB: usize = 1 << 20;

    async fn take<'a>(pool: &'a Pool<Lanes>, rq: &Request, count: usize, bytes: usize) -> Loan<'a, Lanes> {
        match pool.take(count, bytes).unwrap() {
            Some(loan) => loan,
            None => pool.take_in_turn(rq, count, bytes).await.unwrap(),
        }
    }

    fn kept(pool: &Pool<Lanes>) -> usize {
        pool.0.lock().kept
    }

    #[test]
    fn take_again_gets_the_same_memory() {
        let pool = Pool::<Lanes>::new();
        let address = |pool: &Pool<Lanes>| {
            block_on(async |rq| take(pool, rq, 3, 5000).await.bytes(0, 1).as_ptr().addr()).unwrap()
        };
        assert_eq!(address(&pool), address(&pool));
        assert_eq!(kept(&pool), 3 * 8192);
    }

    #[test]
    fn take_for_another_number_of_children_than_before_gets_as_many_lanes() {
        let pool = Pool::<Lanes>::new();
        let count = |want| block_on(async |rq| take(&pool, rq, want, 4096).await.count()).unwrap();
        assert_eq!((count(2), count(3), count(2)), (2, 3, 2));
    }

    #[test]
    fn take_beyond_the_limit_waits_for_its_turn() {
        let pool = Pool::<Lanes>::new();
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            block_on(async |rq| {
                let first = take(&pool, rq, 1, LIMIT_PER_BUFFER).await;
                let waiter = scope.spawn(|| {
                    block_on(async |rq| {
                        let _second = take(&pool, rq, 1, 4096).await;
                        send.send(()).unwrap();
                    })
                });
                while pool.0.lock().waiting.is_empty() {
                    thread::yield_now();
                }
                assert!(receive.try_recv().is_err());
                drop(first);
                waiter.join().unwrap().unwrap();
            })
            .unwrap();
        });
        assert_eq!(receive.try_recv(), Ok(()));
        assert_eq!(pool.0.lock().in_use, 0);
    }

    #[test]
    fn take_of_more_than_the_limit_is_granted_alone() {
        let pool = Pool::<Lanes>::new();
        let footprint =
            block_on(async |rq| take(&pool, rq, 2, LIMIT_PER_BUFFER * 2).await.footprint()).unwrap();
        assert_eq!(footprint, LIMIT_PER_BUFFER * 4);
    }

    #[test]
    fn take_without_memory_never_waits() {
        let pool = Pool::<Lanes>::new();
        block_on(async |rq| {
            let _all = take(&pool, rq, 1, LIMIT_PER_BUFFER).await;
            assert_eq!(pool.take_bare(1).unwrap().footprint(), 0);
        })
        .unwrap();
    }

    #[test]
    fn take_of_another_size_gives_up_what_is_kept_beyond_the_limit() {
        let pool = Pool::<Lanes>::new();
        block_on(async |rq| {
            drop(take(&pool, rq, 1, LIMIT_PER_BUFFER).await);
            assert_eq!(kept(&pool), LIMIT_PER_BUFFER);
            let _other = take(&pool, rq, 1, MIB).await;
            assert_eq!(kept(&pool), 0);
        })
        .unwrap();
    }

    #[test]
    fn take_idle_takes_what_nobody_has_used_since_the_last_time() {
        let pool = Pool::<Lanes>::new();
        block_on(async |rq| {
            let both = (take(&pool, rq, 1, MIB).await, take(&pool, rq, 1, MIB).await);
            drop(both);
            assert_eq!(pool.0.lock().take_idle().len(), 0);
            drop(take(&pool, rq, 1, MIB).await);
            // One of the two was used; the other one was not.
            assert_eq!(pool.0.lock().take_idle().len(), 1);
            assert_eq!(kept(&pool), MIB);
            assert_eq!(pool.0.lock().take_idle().len(), 1);
            assert_eq!(kept(&pool), 0);
        })
        .unwrap();
    }

    #[test]
    fn drop_of_the_pool_ends_its_thread() {
        let pool = Pool::<Lanes>::new();
        block_on(async |rq| drop(take(&pool, rq, 1, MIB).await)).unwrap();
        let shared = Arc::downgrade(&pool.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
