// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Opening and reopening a node. Runs in the main loop, outside of coroutines, and blocks on the network.

use super::error::Error;
use super::options::Options;
use super::resize::is_whole;
use super::state::Gluster;
use crate::backend::gfapi::{Connection, File, Target, VolumeSpec};
use crate::errno::{Errno, ToErrno};
use crate::options::OptionMap;

/// How a node wants its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// For writing too.
    pub writable: bool,
    /// Past the page caches (`cache.direct=on`).
    pub direct: bool,
}

impl Access {
    /// The flags of `open(2)`.
    fn flags(self) -> i32 {
        let mode = if self.writable { libc::O_RDWR } else { libc::O_RDONLY };
        if self.direct {
            mode | libc::O_DIRECT
        } else {
            mode
        }
    }
}

/// Opens a node. Options that it doesn't know stay in the dictionary for the block layer to refuse.
///
/// `allow_read_only` is asked when the file can only be read; it fails if the user insists on writing.
///
/// # Errors
/// Wrong options, no connection, no such file, no permission.
pub fn open(
    mut map: OptionMap,
    access: Access,
    allow_read_only: impl Fn(&str) -> Result<(), Errno>,
) -> Result<Gluster, Error> {
    let options = Options::parse(&mut map)?;
    let open = |connection: &Connection| match open_file(connection, &options, access) {
        Err(error) if access.writable && is_read_only(error.errno()) => {
            // The first error is the one to report if the user wants no read-only node.
            let Ok(()) = allow_read_only("the image can only be read") else { return Err(error) };
            let access = Access { writable: false, ..access };
            Ok((open_file(connection, &options, access)?, access))
        }
        result => Ok((result?, access)),
    };
    let (_connection, (file, access)) = through_connection(&options, open)?;
    node(file, options, access)
}

/// Makes the node that takes `old`'s place, with other access to the same file.
///
/// # Errors
/// The server's; `ENOMEDIUM` after a failed fsync.
// DIVERGES: options can't be changed by a reopen, so it needs no second connection, and nothing is left behind when it fails.
pub fn reopen(old: &Gluster, access: Access) -> Result<Gluster, Error> {
    old.check_usable()?;
    let file = open_file(old.file.connection(), &old.options, access)?;
    let length = file.size()?.length;
    let new = node(file, old.options.clone(), access)?;
    check_sectors(old.alignment, new.alignment, length, access.writable)?;
    Ok(new)
}

/// Whether a node may get a larger alignment while it is open.
///
/// The block layer compares the length with the alignment before the reopen is committed, when it still has the old one; a write
/// of the last sector would then be beyond the end that it knows.
fn check_sectors(old: u32, new: u32, length: i64, writable: bool) -> Result<(), Error> {
    // DIVERGES: with an end that is no multiple the reopen fails, rather than the process when the last sector is written.
    if writable && new > old && !is_whole(length, new) {
        return Err(Error::Sectors { length, alignment: new });
    }
    Ok(())
}

/// A connection for those options.
fn connect(options: &Options) -> Result<Connection, Error> {
    let spec = spec(options);
    Connection::acquire(&spec).map_err(|source| {
        let servers: Vec<String> = spec.servers.iter().map(|server| format!("{server}")).collect();
        Error::Connect {
            volume: options.volume.to_string_lossy().into_owned(),
            path: options.path.to_string_lossy().into_owned(),
            hint: format!("Servers asked: {}", servers.join("; ")),
            source,
        }
    })
}

/// What makes two nodes share a connection.
fn spec(options: &Options) -> VolumeSpec {
    VolumeSpec {
        volume: options.volume.clone(),
        servers: options.servers.clone(),
        logfile: options.logfile.clone(),
        debug: options.debug,
    }
}

/// Does something through a connection; if that had been idle and has gone stale meanwhile, through a new one.
pub(super) fn through_connection<T>(
    options: &Options,
    work: impl Fn(&Connection) -> Result<T, Error>,
) -> Result<(Connection, T), Error> {
    let connection = connect(options)?;
    match work(&connection) {
        Err(error) if connection.was_idle() && is_stale(error.errno()) => {
            connection.retire();
            let connection = connect(options)?;
            work(&connection).map(|value| (connection, value))
        }
        result => result.map(|value| (connection, value)),
    }
}

/// Opens the file.
fn open_file(connection: &Connection, options: &Options, access: Access) -> Result<File, Error> {
    connection.open(&options.path, access.flags()).map_err(|source| Error::Open {
        volume: options.volume.to_string_lossy().into_owned(),
        path: options.path.to_string_lossy().into_owned(),
        source,
    })
}

/// The node of an open file: asks what the file can do.
fn node(file: File, options: Options, access: Access) -> Result<Gluster, Error> {
    let size = file.size()?;
    let seek_data = has_seek_data(&file, size.length);
    let alignment = if access.direct { direct_alignment(&file) } else { 1 };
    Ok(Gluster::new(file, options, seek_data, alignment, size.allocated))
}

/// Whether the library finds data and holes: it must not find data at the end of the file.
fn has_seek_data(file: &File, end: i64) -> bool {
    matches!(file.seek(end, Target::Data), Err(error) if error.errno() == Errno::ENXIO)
}

/// What requests must be multiples of when the bricks bypass their page cache, in bytes.
// DIVERGES: the C driver takes 512 for granted, and can't read from disks with larger sectors.
fn direct_alignment(file: &File) -> u32 {
    /// The sector sizes that there are.
    const SECTORS: [u32; 2] = [512, 4096];
    for sector in SECTORS {
        let bytes = usize::try_from(sector).unwrap_or(usize::MAX);
        match file.try_read(bytes) {
            Err(error) if error.errno() == Errno::EINVAL => {}
            // Another error has another cause and will come back with the first request.
            Ok(()) | Err(_) => return sector,
        }
    }
    4096
}

/// Whether the file can't be written but might be read.
fn is_read_only(errno: Errno) -> bool {
    errno == Errno::EACCES || errno == Errno::EROFS
}

/// Whether the trouble may be with the connection and not with the file.
fn is_stale(errno: Errno) -> bool {
    [libc::ENOTCONN, libc::ESTALE, libc::EIO].contains(&errno.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sectors_refuses_a_larger_alignment_that_the_length_does_not_fit() {
        assert_eq!(check_sectors(1, 4096, 4096 + 512, true).unwrap_err().errno(), Errno::EINVAL);
        for (old, new, length, writable) in [
            (1, 4096, 8192, true),
            // What the block layer takes for 8192.
            (1, 4096, 8191, true),
            (1, 512, 1001, true),
            (4096, 4096, 4608, true),
            (4096, 1, 4608, true),
            (1, 4096, 4608, false),
        ] {
            assert!(check_sectors(old, new, length, writable).is_ok(), "{old} {new} {length} {writable}");
        }
    }
}
