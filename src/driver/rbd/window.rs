// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Several operations under way together, each on an object of its own.

use crate::backend::rados::Operation;
use crate::errno::Errno;
use crate::host::Request;

/// How many objects one request has under way at a time.
pub(super) const WINDOW: usize = 32;

/// Operations that are under way together, each with what it is about.
pub(super) struct Window<T>([Option<(T, Operation)>; WINDOW]);

impl<T> Window<T> {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| None))
    }

    /// Starts as many operations as there is room for. False if there is nothing left to do.
    pub(super) fn fill(
        &mut self,
        items: &mut impl Iterator<Item = T>,
        mut start: impl FnMut(&T) -> Result<Operation, Errno>,
    ) -> Result<bool, Errno> {
        let mut any = false;
        for slot in &mut self.0 {
            let Some(item) = items.next() else { break };
            let done = start(&item)?;
            *slot = Some((item, done));
            any = true;
        }
        Ok(any)
    }

    /// Waits for all of them, and hands over what each returned. The first error counts.
    pub(super) async fn settle(
        &mut self,
        rq: &Request,
        mut landed: impl FnMut(&T, i64) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        rq.settled().await;
        let mut result = Ok(());
        for (item, done) in self.0.iter_mut().filter_map(Option::take) {
            let one = match done.await {
                Ok(ret) => landed(&item, ret),
                Err(errno) => Err(errno),
            };
            result = result.and(one);
        }
        result
    }
}

/// Does one operation for each of `items`, [`WINDOW`] at a time, and hands over what each returned. Nothing is in flight when it
/// returns, whatever happened: the caller may be inside of a gate, and what comes after it relies on that.
pub(super) async fn for_each<T>(
    rq: &Request,
    mut items: impl Iterator<Item = T>,
    mut start: impl FnMut(&T) -> Result<Operation, Errno>,
    mut landed: impl FnMut(&T, i64) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut window = Window::new();
    loop {
        let filled = window.fill(&mut items, &mut start);
        window.settle(rq, &mut landed).await?;
        if !filled? {
            return Ok(());
        }
    }
}
