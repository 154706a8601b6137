// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Connections shared between nodes, and their end in the background.
//!
//! `glfs_fini` takes 5 to 10 seconds whatever the client did, so closing a node never calls it: the last user leaves the
//! connection idle, the next node with the same specification takes it over, and one that stays idle is ended by a thread of
//! its own. A process may exit while that thread is at it.

use std::ffi::CStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use super::error::Error;
use super::file::File;
use super::volume::{Volume, VolumeSpec};
use crate::errno::Errno;
use crate::host::{run_behind, spawn_thread};

/// How long an idle connection waits for its next user.
// DIVERGES: the C driver ends the connection when its last node closes, and every command waits the 5 to 10 seconds for it.
const LINGER: Duration = Duration::from_secs(10);
/// How long a client that could not connect waits for its end. A command that failed because of it has exited by then: the
/// library can crash when a process exits while such a client ends.
const FAILED_LINGER: Duration = Duration::from_secs(1);
/// How many connections end at the same time.
const MAX_REAPERS: usize = 8;
/// With more idle connections than this the oldest one doesn't linger: a program that goes through many volumes must not
/// collect clients.
const MAX_IDLE: usize = 16;
/// With more connections than this waiting for their end, a new one is refused with `EAGAIN`: a program that fails to
/// connect again and again must not pile up clients.
const MAX_ENDING: usize = 32;

/// The name of the threads that end connections.
const THREAD: &str = "qbr-gluster-end";

/// A connection and those who know it.
#[derive(Debug)]
struct Entry {
    spec: VolumeSpec,
    volume: Arc<OnceCell<Volume>>,
    /// Nodes and files that use it.
    users: usize,
    /// When the last user left.
    idle_since: Instant,
}

/// All connections of the process.
#[derive(Debug)]
struct Registry {
    entries: Vec<Entry>,
    /// Clients that nobody will use again, and when they may end.
    ending: Vec<(Instant, Volume)>,
    reapers: usize,
    idle_reapers: usize,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { entries: Vec::new(), ending: Vec::new(), reapers: 0, idle_reapers: 0 });
/// Something became idle or waits for its end, or there is room again.
static CHANGED: Condvar = Condvar::new();

/// The registry, whatever happened to whoever held it before.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share in a live connection.
///
/// # Invariants
/// The cell is initialised, and its entry, while it is in the registry, counts this share.
#[derive(Debug)]
pub struct Connection {
    volume: Arc<OnceCell<Volume>>,
    was_idle: bool,
}

impl Connection {
    /// A connection to that volume: a live one with the same specification, or a new one.
    ///
    /// Blocks on the network for a new one.
    ///
    /// # Errors
    /// What libgfapi gives for a server that can't be reached (`ENOTCONN`, `ETIMEDOUT`, ...) or a volume that is not there.
    pub fn acquire(spec: &VolumeSpec) -> Result<Self, Error> {
        let (volume, was_idle) = registry().share(spec)?;
        // Another node may be connecting with the same specification; then this waits for its outcome.
        let connected = volume.get_or_try_init(|| {
            let volume = Volume::new(spec)?;
            match volume.init(spec) {
                Ok(()) => Ok(volume),
                Err(error) => {
                    end(volume);
                    Err(error)
                }
            }
        });
        // INVARIANT: `share` counted this one, and the cell is initialised from here on, or the share goes back below.
        match connected.map(drop) {
            Ok(()) => Ok(Self { volume, was_idle }),
            Err(error) => {
                leave(volume);
                Err(error)
            }
        }
    }

    /// Opens a file with the flags of `open(2)`. Blocks on the network.
    ///
    /// # Errors
    /// The server's.
    pub fn open(&self, path: &CStr, flags: i32) -> Result<File, Error> {
        self.volume()?.open(self.share(), path, flags)
    }

    /// Creates a file with the flags of `open(2)`, for its owner alone. Blocks on the network.
    ///
    /// # Errors
    /// The server's.
    pub fn create(&self, path: &CStr, flags: i32) -> Result<File, Error> {
        self.volume()?.create(self.share(), path, flags)
    }

    /// Removes a file. Blocks on the network.
    ///
    /// # Errors
    /// The server's.
    pub fn unlink(&self, path: &CStr) -> Result<(), Error> {
        self.volume()?.unlink(path)
    }

    /// Whether nobody used the connection when this share was taken: it may have gone stale meanwhile.
    #[must_use]
    pub fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// Takes the connection out of the registry, so that the next one to ask gets a new one.
    pub fn retire(&self) {
        let mut registry = registry();
        if let Some(entry) =
            registry.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.volume, &self.volume))
        {
            // A specification without servers equals nobody's; the entry goes when its users have gone.
            entry.spec.servers.clear();
        }
    }

    /// One more share.
    fn share(&self) -> Self {
        let mut registry = registry();
        if let Some(entry) =
            registry.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.volume, &self.volume))
        {
            entry.users = entry.users.saturating_add(1);
        }
        drop(registry);
        // INVARIANT: counted above; this share's own cell is initialised.
        Self { volume: Arc::clone(&self.volume), was_idle: false }
    }

    /// The client.
    fn volume(&self) -> Result<&Volume, Error> {
        self.volume.get().ok_or(Error { op: "glfs_init", errno: Errno::EIO })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        leave(std::mem::take(&mut self.volume));
    }
}

impl Registry {
    /// Counts a new user of the connection with that specification; makes an entry if there is none.
    fn share(&mut self, spec: &VolumeSpec) -> Result<(Arc<OnceCell<Volume>>, bool), Error> {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.spec == *spec) {
            let was_idle = entry.users == 0;
            entry.users = entry.users.saturating_add(1);
            return Ok((Arc::clone(&entry.volume), was_idle));
        }
        if self.ending.len() >= MAX_ENDING {
            return Err(Error { op: "glfs_new", errno: Errno::from_code(libc::EAGAIN) });
        }
        let volume = Arc::new(OnceCell::new());
        self.entries.push(Entry {
            spec: spec.clone(),
            volume: Arc::clone(&volume),
            users: 1,
            idle_since: Instant::now(),
        });
        Ok((volume, false))
    }

    /// Removes and returns a client to be ended, if there is one; else says when there may be.
    fn next_to_end(&mut self) -> Result<Volume, Option<Instant>> {
        let now = Instant::now();
        if let Some(index) = self.ending.iter().position(|(due, _)| *due <= now) {
            return Ok(self.ending.swap_remove(index).1);
        }
        let idle = || self.entries.iter().filter(|entry| entry.users == 0);
        let oldest = idle().map(|entry| entry.idle_since).min().filter(|_| idle().count() > MAX_IDLE);
        let mut due: Option<Instant> = self.ending.iter().map(|(due, _)| *due).min();
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            if entry.users > 0 {
                index = index.saturating_add(1);
                continue;
            }
            let deadline = if entry.spec.servers.is_empty() || oldest == Some(entry.idle_since) {
                now
            } else {
                entry.idle_since.checked_add(LINGER).unwrap_or(now)
            };
            if deadline > now {
                due = Some(due.map_or(deadline, |due| due.min(deadline)));
                index = index.saturating_add(1);
                continue;
            }
            // Without users the registry holds the only reference.
            let entry = self.entries.swap_remove(index);
            if let Some(volume) = Arc::into_inner(entry.volume).and_then(OnceCell::into_inner) {
                return Ok(volume);
            }
        }
        Err(due)
    }
}

/// A user of the connection leaves.
fn leave(volume: Arc<OnceCell<Volume>>) {
    let mut registry = registry();
    let Some(index) = registry.entries.iter().position(|entry| Arc::ptr_eq(&entry.volume, &volume)) else {
        return;
    };
    // Under the lock: whoever finds an entry without users must hold the only reference to its client, to end it.
    drop(volume);
    let Some(entry) = registry.entries.get_mut(index) else { return };
    entry.users = entry.users.saturating_sub(1);
    entry.idle_since = Instant::now();
    if entry.users > 0 {
        return;
    }
    if entry.volume.get().is_none() {
        // It never came to life.
        registry.entries.swap_remove(index);
        return;
    }
    need_reaper(registry);
}

/// Has a client ended in the background.
fn end(volume: Volume) {
    let mut registry = registry();
    let now = Instant::now();
    registry.ending.push((now.checked_add(FAILED_LINGER).unwrap_or(now), volume));
    need_reaper(registry);
}

/// Sees to it that a thread ends what is to be ended.
fn need_reaper(mut registry: MutexGuard<'static, Registry>) {
    if registry.idle_reapers == 0 && registry.reapers < MAX_REAPERS {
        // Without a thread the connection lives on until the next one comes; that costs memory, not data.
        if spawn_thread(THREAD, reap).is_ok() {
            registry.reapers = registry.reapers.saturating_add(1);
        }
    }
    drop(registry);
    CHANGED.notify_all();
}

/// As [`need_reaper`], if there is anything left.
fn need_reaper_for_the_rest(registry: MutexGuard<'static, Registry>) {
    if registry.ending.is_empty() && registry.entries.iter().all(|entry| entry.users > 0) {
        drop(registry);
        CHANGED.notify_all();
    } else {
        need_reaper(registry);
    }
}

/// The life of a thread that ends a connection: it goes after that, or when there is none to wait for.
fn reap() {
    let mut guard = registry();
    loop {
        match guard.next_to_end() {
            Ok(volume) => {
                // The others, also those that only become due later, need not wait for this one.
                need_reaper_for_the_rest(guard);
                // `glfs_fini` does not wait for all threads of the library's that wait for the network. One that was kept from the
                // processor in its last lines would find its memory gone, and the process would crash: so they go first. Not before
                // this thread, which takes the lock again that the main loop may wait for, and starts others like it.
                let mut volume = Some(volume);
                run_behind(THREAD, || {
                    if let Some(volume) = volume.take() {
                        volume.fini();
                    }
                });
                let mut guard = registry();
                guard.reapers = guard.reapers.saturating_sub(1);
                need_reaper_for_the_rest(guard);
                return;
            }
            Err(Some(due)) if guard.idle_reapers == 0 => {
                guard.idle_reapers = 1;
                let timeout = due.saturating_duration_since(Instant::now());
                let (next, _) = CHANGED.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
                guard = next;
                guard.idle_reapers = 0;
            }
            Err(_) => {
                guard.reapers = guard.reapers.saturating_sub(1);
                return;
            }
        }
    }
}
