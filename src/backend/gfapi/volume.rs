// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! One client of one volume: a `glfs_t`.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;

use super::error::Error;
use super::file::File;
use super::Connection;
use crate::errno::Errno;
use crate::sys::gfapi::{
    glfs, glfs_creat, glfs_fini, glfs_init, glfs_new, glfs_open, glfs_set_logging, glfs_set_volfile_server,
    glfs_set_xlator_option, glfs_unlink,
};

/// A server that the description of the volume (the volfile) can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// A host name or address and a TCP port.
    Inet {
        /// Name or address; IPv6 without brackets.
        host: CString,
        /// TCP port.
        port: u16,
    },
    /// The socket of a local glusterd.
    Unix {
        /// Path of the socket.
        path: CString,
    },
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet { host, port } => write!(f, "host {} port {port}", host.to_string_lossy()),
            Self::Unix { path } => write!(f, "socket {}", path.to_string_lossy()),
        }
    }
}

/// Everything that makes one connection differ from another.
// DIVERGES: the C driver goes by the name of the volume alone, and ignores the servers and log options of all nodes but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Name of the volume.
    pub volume: CString,
    /// Servers, tried in this order.
    pub servers: Vec<Server>,
    /// Where the library logs; "-" is standard error.
    pub logfile: CString,
    /// The library's log level, 0 to 9.
    pub debug: i32,
}

/// The xlator option that makes the client keep data whose write-back failed, so that a later fsync can still write it.
const RESYNC_XLATOR: &CStr = c"*-write-behind";
const RESYNC_KEY: &CStr = c"resync-failed-syncs-after-fsync";

/// The library's name of a log level (`glusterfs/logging.h`), the nearest one that an option can name.
fn level_name(level: i32) -> &'static CStr {
    match level {
        ..=0 => c"NONE",
        1..=3 => c"CRITICAL",
        4 => c"ERROR",
        5 => c"WARNING",
        6..=7 => c"INFO",
        8 => c"DEBUG",
        9.. => c"TRACE",
    }
}

/// A live client of a volume.
///
/// # Invariants
/// `fs` is valid until `fini`.
#[derive(Debug)]
pub(super) struct Volume {
    fs: NonNull<glfs>,
}

// SAFETY: libgfapi serialises on its own locks: glfs.h offers one glfs_t to all threads of a program (its asynchronous calls
// and their callbacks run on different threads by design).
unsafe impl Send for Volume {}
// SAFETY: as above.
unsafe impl Sync for Volume {}

impl Volume {
    /// Makes a client that has not talked to any server yet.
    pub(super) fn new(spec: &VolumeSpec) -> Result<Self, Error> {
        // SAFETY: the name is a C string; the library copies it.
        let fs = unsafe { glfs_new(spec.volume.as_ptr()) };
        // INVARIANT: a new handle is valid until glfs_fini().
        NonNull::new(fs).map(|fs| Self { fs }).ok_or_else(|| Error::last("glfs_new"))
    }

    /// Fetches the volfile from the first server that answers and connects to the bricks.
    ///
    /// Blocks on the network.
    pub(super) fn init(&self, spec: &VolumeSpec) -> Result<(), Error> {
        let fs = self.fs.as_ptr();
        for server in &spec.servers {
            let (transport, address, port) = match server {
                Server::Inet { host, port } => (c"tcp", host, i32::from(*port)),
                Server::Unix { path } => (c"unix", path, 0),
            };
            // SAFETY: `fs` is valid (type invariant); the library copies the strings.
            let ret = unsafe { glfs_set_volfile_server(fs, transport.as_ptr(), address.as_ptr(), port) };
            Error::check("glfs_set_volfile_server", ret.into())?;
        }
        // SAFETY: as above.
        let ret = unsafe { glfs_set_logging(fs, spec.logfile.as_ptr(), spec.debug) };
        Error::check("glfs_set_logging", ret.into())?;
        // DIVERGES: set before glfs_init(), which builds the graph from it; set later, as the C driver does, it has no effect.
        self.set_option(RESYNC_XLATOR, RESYNC_KEY, c"on")?;
        // DIVERGES: `debug` holds: the volume's own setting (INFO by default) would override it from glfs_init() on, and fill
        // standard error with what went well. The translator that applies it has the name of the volume.
        self.set_option(&spec.volume, c"log-level", level_name(spec.debug))?;
        // DIVERGES: requests skip the client's io-threads, which would hand each one to another thread of the library: a
        // submission never waits, and the hop costs more processor time than all that it is meant to spread.
        self.set_option(c"*-io-threads", c"pass-through", c"true")?;
        // SAFETY: as above.
        let ret = unsafe { glfs_init(fs) };
        if ret < 0 {
            // The library can fail without a reason, for example when a server doesn't know the volume.
            let errno = Errno::last_or(Errno::EINVAL);
            return Err(Error { op: "glfs_init", errno });
        }
        Ok(())
    }

    /// Sets an option of the translators that `xlator` matches; takes effect in `glfs_init`.
    fn set_option(&self, xlator: &CStr, key: &CStr, value: &CStr) -> Result<(), Error> {
        // SAFETY: `fs` is valid (type invariant); the library copies the strings.
        let ret = unsafe {
            glfs_set_xlator_option(self.fs.as_ptr(), xlator.as_ptr(), key.as_ptr(), value.as_ptr())
        };
        Error::check("glfs_set_xlator_option", ret.into()).map(drop)
    }

    /// Opens an existing file. Blocks on the network.
    pub(super) fn open(&self, connection: Connection, path: &CStr, flags: i32) -> Result<File, Error> {
        // SAFETY: `fs` is valid (type invariant); the library copies the path.
        let fd = unsafe { glfs_open(self.fs.as_ptr(), path.as_ptr(), flags) };
        // The reason is read before `connection` goes, as giving it back makes system calls.
        let Some(fd) = NonNull::new(fd) else { return Err(Error::last("glfs_open")) };
        File::new(fd, connection).searchable()
    }

    /// Creates a file that only its owner may use. Blocks on the network.
    pub(super) fn create(&self, connection: Connection, path: &CStr, flags: i32) -> Result<File, Error> {
        /// Images are nobody else's business.
        const MODE: libc::mode_t = 0o600;
        // SAFETY: as in `open`.
        let fd = unsafe { glfs_creat(self.fs.as_ptr(), path.as_ptr(), flags | libc::O_CREAT, MODE) };
        let Some(fd) = NonNull::new(fd) else { return Err(Error::last("glfs_creat")) };
        Ok(File::new(fd, connection))
    }

    /// Removes a file. Blocks on the network.
    pub(super) fn unlink(&self, path: &CStr) -> Result<(), Error> {
        // SAFETY: as in `open`.
        let ret = unsafe { glfs_unlink(self.fs.as_ptr(), path.as_ptr()) };
        Error::check("glfs_unlink", ret.into()).map(drop)
    }

    /// Ends the client. Takes 5 to 10 seconds, so nobody should wait for it.
    pub(super) fn fini(self) {
        // A client that goes away loses its bricks and logs that as an error, which it is not. The level concerns this client
        // alone.
        // SAFETY: `fs` is valid (type invariant).
        unsafe { glfs_set_logging(self.fs.as_ptr(), std::ptr::null(), 0) };
        // SAFETY: as above; `self` is consumed, so nobody uses the handle again.
        unsafe { glfs_fini(self.fs.as_ptr()) };
    }
}
