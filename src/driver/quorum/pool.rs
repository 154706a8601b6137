// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Lanes with their bounce buffers, kept from one request to the next.
//!
//! New memory costs a page fault for every 4 KiB, which is most of what a read of several children would cost. So memory is
//! kept as long as requests need it: what nobody has needed for a second goes back to the system. All requests of a node
//! together use at most [`LIMIT_PER_CHILD`] for each child; what doesn't fit waits its turn, and a request that could never fit
//! has the pool to itself.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::errno::Errno;
use crate::host::{spawn_thread, Lanes, Request, Signal};

/// Bytes of bounce buffers per child. That is 64 reads of 1 MiB at a time.
const LIMIT_PER_CHILD: usize = 64 << 20;
/// How often to look for memory that nobody needs any more.
const PERIOD: Duration = Duration::from_secs(1);
/// The smallest buffer is 1 << 12 bytes, the largest 1 << 31; class 0 has none.
const SMALLEST: u32 = 12;
const CLASSES: usize = 21;

/// A node's lanes.
#[derive(Debug)]
pub(super) struct Pool(Arc<Shared>);

/// What the node and the thread that gives memory back have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The node goes.
    closing: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lanes that nobody uses, by class.
    free: [Vec<Lanes>; CLASSES],
    /// How many of them nobody has used since the last look.
    idle: [usize; CLASSES],
    /// Bytes that requests use, and bytes that free lanes have.
    in_use: usize,
    kept: usize,
    /// Bytes that requests may use together.
    limit: usize,
    /// Requests that wait for others to end, in their order.
    waiting: VecDeque<Waiting>,
    has_thread: bool,
    closed: bool,
}

/// A request that waits for memory.
#[derive(Debug)]
struct Waiting {
    bytes: usize,
    /// Ends its wait when it is dropped.
    _admitted: Signal,
}

impl Pool {
    /// A pool with nothing in it.
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::default()), closing: Condvar::new() }))
    }

    /// `count` lanes without memory of their own.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn take_bare(&self, count: usize) -> Result<Loan<'_>, Errno> {
        self.loan(count, 0, 0, self.0.pop(0, count))
    }

    /// `count` lanes with at least `bytes` bytes of memory each; `None` if other requests use too much, and the caller has to use
    /// [`Pool::take_in_turn`]. They are two, as a request that needn't wait is quicker without a future.
    ///
    /// # Errors
    /// `ENOMEM`, and `EINVAL` for more than 2 GiB.
    pub(super) fn take(&self, count: usize, bytes: usize) -> Result<Option<Loan<'_>>, Errno> {
        let class = class_of(bytes)?;
        let need = count.saturating_mul(capacity_of(class));
        match self.0.try_take(class, count, need, count.saturating_mul(LIMIT_PER_CHILD)) {
            Some(lanes) => self.loan(count, class, need, lanes).map(Some),
            None => Ok(None),
        }
    }

    /// As [`Pool::take`], but waits until it is this request's turn.
    ///
    /// # Errors
    /// `ENOMEM`, and `EINVAL` for more than 2 GiB.
    pub(super) async fn take_in_turn(
        &self,
        rq: &Request,
        count: usize,
        bytes: usize,
    ) -> Result<Loan<'_>, Errno> {
        let class = class_of(bytes)?;
        let need = count.saturating_mul(capacity_of(class));
        self.wait_for(rq, need).await?;
        self.loan(count, class, need, self.0.pop(class, count))
    }

    /// Lends lanes, new ones if there are none. What was admitted is given back with the loan, also if it fails.
    fn loan(&self, count: usize, class: usize, need: usize, lanes: Option<Lanes>) -> Result<Loan<'_>, Errno> {
        let mut loan = Loan { pool: self, class, need, lanes };
        if loan.lanes.is_none() {
            loan.lanes = Some(Lanes::new(count, capacity_of(class))?);
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
                state.waiting.push_back(Waiting { bytes, _admitted: admitted });
            }
            Ok(())
        });
        turn.await.map(drop)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.closing.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a request, with a limit for all requests together, and gives it free lanes of a class if there are some. `None`
    /// if it has to wait.
    fn try_take(&self, class: usize, count: usize, need: usize, limit: usize) -> Option<Option<Lanes>> {
        let mut state = self.lock();
        state.limit = limit;
        if !state.admit(need) {
            return None;
        }
        if let Some(lanes) = state.pop_for(class, count) {
            return Some(Some(lanes));
        }
        drop(state);
        Some(self.pop(class, count))
    }

    /// Free lanes of a class, or none and room for new ones.
    fn pop(&self, class: usize, count: usize) -> Option<Lanes> {
        let mut state = self.lock();
        let lanes = state.pop_for(class, count);
        let surplus = if lanes.is_none() { state.make_room() } else { Vec::new() };
        // Giving memory back takes its time, which other requests needn't wait for.
        drop(state);
        drop(surplus);
        lanes
    }

    /// Takes back what a request has used.
    fn give_back(self: &Arc<Self>, class: usize, need: usize, lanes: Option<Lanes>) {
        let mut state = self.lock();
        state.in_use = state.in_use.saturating_sub(need);
        if let Some(lanes) = lanes {
            state.push(class, lanes);
        }
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

impl State {
    /// Whether a request may use so many bytes now; then they count as used.
    fn admit(&mut self, bytes: usize) -> bool {
        let fits = bytes == 0 || (self.waiting.is_empty() && self.has_room_for(bytes));
        if fits {
            self.in_use = self.in_use.saturating_add(bytes);
        }
        fits
    }

    /// Whether the limit allows so many bytes more; a request that is alone may have what it needs.
    fn has_room_for(&self, bytes: usize) -> bool {
        self.in_use == 0 || self.in_use.saturating_add(bytes) <= self.limit
    }

    /// Those whose turn it is; they go on when this is dropped.
    fn admit_waiting(&mut self) -> Vec<Waiting> {
        let mut admitted = Vec::new();
        while self.waiting.front().is_some_and(|first| self.has_room_for(first.bytes)) {
            if let Some(first) = self.waiting.pop_front() {
                self.in_use = self.in_use.saturating_add(first.bytes);
                admitted.push(first);
            }
        }
        admitted
    }

    /// Free lanes of a class.
    fn pop(&mut self, class: usize) -> Option<Lanes> {
        let lanes = self.free.get_mut(class)?.pop()?;
        self.kept = self.kept.saturating_sub(lanes.footprint());
        self.note_idle(class);
        Some(lanes)
    }

    /// Free lanes of a class, for so many children. After a child was added the old ones are too few, and after one was removed they
    /// take more memory than they count for.
    fn pop_for(&mut self, class: usize, count: usize) -> Option<Lanes> {
        self.pop(class).filter(|lanes| lanes.count() == count)
    }

    /// Keeps lanes for the next request.
    fn push(&mut self, class: usize, lanes: Lanes) {
        if lanes.count() > 0 {
            self.kept = self.kept.saturating_add(lanes.footprint());
            if let Some(free) = self.free.get_mut(class) {
                free.push(lanes);
            }
        }
    }

    /// Keeps count of what was free all the time.
    fn note_idle(&mut self, class: usize) {
        let free = self.free.get(class).map_or(0, Vec::len);
        if let Some(idle) = self.idle.get_mut(class) {
            *idle = free.min(*idle);
        }
    }

    /// Free lanes to drop, so that what is used and what is kept stay within the limit together; the largest first.
    fn make_room(&mut self) -> Vec<Lanes> {
        let mut dropped = Vec::new();
        for class in (1..CLASSES).rev() {
            while self.in_use.saturating_add(self.kept) > self.limit {
                let Some(lanes) = self.pop(class) else { break };
                dropped.push(lanes);
            }
        }
        dropped
    }

    /// Lanes that were free since the last call.
    fn take_idle(&mut self) -> Vec<Lanes> {
        let mut taken = Vec::new();
        for (free, idle) in self.free.iter_mut().zip(&mut self.idle) {
            // Those at the end were used last.
            taken.extend(free.drain(..free.len().min(*idle)));
            *idle = free.len();
        }
        let bytes = taken.iter().map(Lanes::footprint).fold(0, usize::saturating_add);
        self.kept = self.kept.saturating_sub(bytes);
        taken
    }
}

/// Lanes on loan from a pool, which has them back when this is dropped.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    pool: &'a Pool,
    class: usize,
    need: usize,
    lanes: Option<Lanes>,
}

impl Deref for Loan<'_> {
    type Target = Lanes;

    fn deref(&self) -> &Lanes {
        self.lanes.as_ref().unwrap_or(&NO_LANES)
    }
}

impl DerefMut for Loan<'_> {
    fn deref_mut(&mut self) -> &mut Lanes {
        self.lanes.get_or_insert(Lanes::none())
    }
}

/// What stands for lanes that aren't there.
static NO_LANES: Lanes = Lanes::none();

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.pool.0.give_back(self.class, self.need, self.lanes.take());
    }
}

/// The class of buffers of at least so many bytes.
fn class_of(bytes: usize) -> Result<usize, Errno> {
    if bytes == 0 {
        return Ok(0);
    }
    let log = bytes.checked_next_power_of_two().map_or(u32::MAX, usize::trailing_zeros).max(SMALLEST);
    let class = usize::try_from(log.saturating_sub(SMALLEST)).map_err(|_| Errno::EINVAL)?.saturating_add(1);
    if class < CLASSES {
        Ok(class)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Bytes of the buffers of a class.
fn capacity_of(class: usize) -> usize {
    match class.checked_sub(1) {
        None => 0,
        Some(power) => 1 << SMALLEST.saturating_add(u32::try_from(power).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block_on;
    use std::sync::mpsc;
    use std::thread;

    const MIB: usize = 1 << 20;

    async fn take<'a>(pool: &'a Pool, rq: &Request, count: usize, bytes: usize) -> Loan<'a> {
        match pool.take(count, bytes).unwrap() {
            Some(loan) => loan,
            None => pool.take_in_turn(rq, count, bytes).await.unwrap(),
        }
    }

    fn kept(pool: &Pool) -> usize {
        pool.0.lock().kept
    }

    #[test]
    fn class_of_is_the_smallest_that_fits() {
        assert_eq!(class_of(0), Ok(0));
        for (bytes, capacity) in [(1, 4096), (4096, 4096), (4097, 8192), (MIB, MIB), (1 << 31, 1 << 31)] {
            assert_eq!(capacity_of(class_of(bytes).unwrap()), capacity);
        }
        assert_eq!(class_of((1 << 31) + 1), Err(Errno::EINVAL));
        assert_eq!(class_of(usize::MAX), Err(Errno::EINVAL));
    }

    #[test]
    fn take_again_gets_the_same_memory() {
        let pool = Pool::new();
        let address = |pool: &Pool| {
            block_on(async |rq| take(pool, rq, 3, 5000).await.bytes(0, 1).as_ptr().addr()).unwrap()
        };
        assert_eq!(address(&pool), address(&pool));
        assert_eq!(kept(&pool), 3 * 8192);
    }

    #[test]
    fn take_for_another_number_of_children_than_before_gets_as_many_lanes() {
        let pool = Pool::new();
        let count = |want| block_on(async |rq| take(&pool, rq, want, 4096).await.count()).unwrap();
        assert_eq!((count(2), count(3), count(2)), (2, 3, 2));
    }

    #[test]
    fn take_beyond_the_limit_waits_for_its_turn() {
        let pool = Pool::new();
        let (send, receive) = mpsc::channel();
        thread::scope(|scope| {
            block_on(async |rq| {
                let first = take(&pool, rq, 1, LIMIT_PER_CHILD).await;
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
        let pool = Pool::new();
        let footprint =
            block_on(async |rq| take(&pool, rq, 2, LIMIT_PER_CHILD * 2).await.footprint()).unwrap();
        assert_eq!(footprint, LIMIT_PER_CHILD * 4);
    }

    #[test]
    fn take_without_memory_never_waits() {
        let pool = Pool::new();
        block_on(async |rq| {
            let _all = take(&pool, rq, 1, LIMIT_PER_CHILD).await;
            assert_eq!(pool.take_bare(1).unwrap().footprint(), 0);
        })
        .unwrap();
    }

    #[test]
    fn take_of_another_size_gives_up_what_is_kept_beyond_the_limit() {
        let pool = Pool::new();
        block_on(async |rq| {
            drop(take(&pool, rq, 1, LIMIT_PER_CHILD).await);
            assert_eq!(kept(&pool), LIMIT_PER_CHILD);
            let _other = take(&pool, rq, 1, MIB).await;
            assert_eq!(kept(&pool), 0);
        })
        .unwrap();
    }

    #[test]
    fn take_idle_takes_what_nobody_has_used_since_the_last_time() {
        let pool = Pool::new();
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
        let pool = Pool::new();
        block_on(async |rq| drop(take(&pool, rq, 1, MIB).await)).unwrap();
        let shared = Arc::downgrade(&pool.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
