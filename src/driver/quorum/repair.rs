// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Keeps repairs and writes apart.
//!
//! A repair writes what a read has found. If the guest writes there between the read and the repair, the repair would bring back
//! old data on one child. So a read that a write overlaps starts no repair, and a write waits for a repair that it overlaps.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::errno::Errno;
use crate::host::{Request, Signal};
use crate::range::ByteRange;

/// The requests of a node that repairs what has lost a vote.
#[derive(Debug, Default)]
pub(super) struct Repairs(Mutex<Requests>);

#[derive(Debug, Default)]
struct Requests {
    active: Vec<Active>,
    last_id: u64,
}

/// A request in flight.
#[derive(Debug)]
struct Active {
    id: u64,
    range: ByteRange,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A read, and whether a write has overlapped it.
    Read {
        overtaken: bool,
    },
    Write,
    /// A repair, and the writes that wait for it.
    Repair {
        waiting: Vec<Signal>,
    },
}

impl Repairs {
    /// A read begins.
    pub(super) fn begin_read(&self, range: ByteRange) -> Ticket<'_> {
        let mut requests = self.lock();
        let overtaken = requests.overlapping(range).any(|active| matches!(active.kind, Kind::Write));
        self.ticket(&mut requests, range, Kind::Read { overtaken })
    }

    /// A write begins; it waits for repairs that it overlaps.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) async fn begin_write(&self, rq: &Request, range: ByteRange) -> Result<Ticket<'_>, Errno> {
        loop {
            let mut ticket = None;
            let repaired = rq.submit(|token| {
                let mut requests = self.lock();
                let signal = token.signal();
                if let Some(waiting) = requests.overlapping(range).find_map(Active::waiting) {
                    waiting.push(signal);
                    return Ok(());
                }
                for active in requests.overlapping(range) {
                    if let Kind::Read { overtaken } = &mut active.kind {
                        *overtaken = true;
                    }
                }
                ticket = Some(self.ticket(&mut requests, range, Kind::Write));
                drop(requests);
                drop(signal);
                Ok(())
            });
            repaired.await?;
            if let Some(ticket) = ticket {
                return Ok(ticket);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(&self, requests: &mut Requests, range: ByteRange, kind: Kind) -> Ticket<'_> {
        requests.last_id = requests.last_id.wrapping_add(1);
        let id = requests.last_id;
        requests.active.push(Active { id, range, kind });
        Ticket { repairs: self, id }
    }
}

impl Requests {
    fn overlapping(&mut self, range: ByteRange) -> impl Iterator<Item = &mut Active> {
        self.active
            .iter_mut()
            .filter(move |active| active.range.offset() < range.end() && range.offset() < active.range.end())
    }
}

impl Active {
    /// Where to wait for a repair to end.
    fn waiting(&mut self) -> Option<&mut Vec<Signal>> {
        match &mut self.kind {
            Kind::Repair { waiting } => Some(waiting),
            Kind::Read { .. } | Kind::Write => None,
        }
    }
}

/// A request that others must know of, until this is dropped.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    repairs: &'a Repairs,
    id: u64,
}

impl Ticket<'_> {
    /// Turns a read into a repair. False if that would bring old data back.
    pub(super) fn begin_repair(&self) -> bool {
        let mut requests = self.repairs.lock();
        let Some(active) = requests.active.iter_mut().find(|active| active.id == self.id) else {
            return false;
        };
        let may = matches!(active.kind, Kind::Read { overtaken: false });
        if may {
            active.kind = Kind::Repair { waiting: Vec::new() };
        }
        may
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut requests = self.repairs.lock();
        let index = requests.active.iter().position(|active| active.id == self.id);
        let ended = index.map(|index| requests.active.swap_remove(index));
        drop(requests);
        // Those who wait go on.
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::block_on;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    fn range(offset: i64, bytes: i64) -> ByteRange {
        ByteRange::new(offset, bytes).unwrap()
    }

    #[test]
    fn begin_repair_of_a_read_alone_is_allowed() {
        let repairs = Repairs::default();
        assert!(repairs.begin_read(range(0, 512)).begin_repair());
    }

    #[test]
    fn begin_repair_after_a_write_during_the_read_is_refused() {
        let repairs = Repairs::default();
        let read = repairs.begin_read(range(0, 512));
        block_on(async |rq| drop(repairs.begin_write(rq, range(511, 10)).await.unwrap())).unwrap();
        assert!(!read.begin_repair());
    }

    #[test]
    fn begin_repair_of_a_read_that_began_during_a_write_is_refused() {
        let repairs = Repairs::default();
        block_on(async |rq| {
            let write = repairs.begin_write(rq, range(0, 512)).await.unwrap();
            let read = repairs.begin_read(range(0, 4096));
            drop(write);
            assert!(!read.begin_repair());
        })
        .unwrap();
    }

    #[test]
    fn begin_repair_beside_a_write_elsewhere_is_allowed() {
        let repairs = Repairs::default();
        block_on(async |rq| {
            let _write = repairs.begin_write(rq, range(512, 512)).await.unwrap();
            assert!(repairs.begin_read(range(0, 512)).begin_repair());
        })
        .unwrap();
    }

    #[test]
    fn begin_write_waits_for_a_repair_that_it_overlaps() {
        let repairs = Repairs::default();
        let began = AtomicBool::new(false);
        thread::scope(|scope| {
            let repair = repairs.begin_read(range(0, 4096));
            assert!(repair.begin_repair());
            let writer = scope.spawn(|| {
                block_on(async |rq| {
                    let _write = repairs.begin_write(rq, range(1024, 512)).await.unwrap();
                    began.store(true, Ordering::Release);
                })
            });
            let is_waiting =
                || repairs.lock().active.iter_mut().any(|a| a.waiting().is_some_and(|w| !w.is_empty()));
            while !is_waiting() {
                thread::yield_now();
            }
            assert!(!began.load(Ordering::Acquire));
            drop(repair);
            writer.join().unwrap().unwrap();
        });
        assert!(began.load(Ordering::Acquire));
        assert!(repairs.lock().active.is_empty());
    }
}
