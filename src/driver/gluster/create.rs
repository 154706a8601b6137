// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Creating an image: the options of `qemu-img create` and of `blockdev-create`, and the work itself.

use super::error::Error;
use super::open::through_connection;
use super::options::{parse_debug, Options};
use super::resize::{resize, Preallocation};
use crate::backend::gfapi::{self, Connection, File};
use crate::errno::{Errno, ToErrno};
use crate::host::{spawn_blocking, Request};
use crate::options::OptionMap;

/// The length of an image made by `qemu-img create` is a multiple of this.
const SECTOR: u64 = 512;

/// What is to be created.
#[derive(Debug)]
pub struct Create {
    options: Options,
    length: i64,
    preallocation: Preallocation,
}

/// Reads the options of `blockdev-create`, flattened.
///
/// # Errors
/// The first thing that is wrong.
// DIVERGES: vsock and fd servers are refused with a message; the C driver aborts the process. debug and logfile have the documented
// defaults here too.
pub fn parse_create_options(mut map: OptionMap) -> Result<Create, Error> {
    let length = map.take("size").and_then(|text| String::from_utf8(text).ok()?.parse::<u64>().ok());
    let length = checked_length(length.ok_or(Errno::EINVAL)?)?;
    let preallocation = match map.take("preallocation") {
        Some(mode) => Preallocation::parse(&mode)?,
        None => Preallocation::Off,
    };
    let debug = parse_debug(map.take("location.debug"))?;
    let logfile = map.take("location.logfile");
    let options = Options::from_members(&mut map, "location.", debug, logfile)?;
    Ok(Create { options, length, preallocation })
}

/// Reads the options of `qemu-img create`; `length` in bytes.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_create_opts(
    uri: &[u8],
    length: u64,
    preallocation: Option<&[u8]>,
    debug: Option<Vec<u8>>,
    logfile: Option<Vec<u8>>,
) -> Result<Create, Error> {
    let preallocation = preallocation.map_or(Ok(Preallocation::Off), Preallocation::parse)?;
    let length = length.checked_next_multiple_of(SECTOR).ok_or(Error::Size(length.into()))?;
    let options = Options::from_uri(uri, parse_debug(debug)?, logfile)?;
    Ok(Create { options, length: checked_length(length)?, preallocation })
}

/// A length that a file can have.
fn checked_length(length: u64) -> Result<i64, Error> {
    i64::try_from(length).map_err(|_| Error::Size(length.into()))
}

/// Creates the image. An existing file is overwritten, as ever.
///
/// # Errors
/// No connection, no permission, no space.
pub async fn create(rq: &Request, create: Create) -> Result<(), Error> {
    spawn_blocking(rq, move || create_now(&create)).await?
}

/// Creates the image. Blocks.
fn create_now(create: &Create) -> Result<(), Error> {
    let (connection, (file, is_new)) =
        through_connection(&create.options, |connection| create_file(connection, create))?;
    let result = file
        .size()
        .map_err(Error::from)
        .and_then(|size| resize(&file, size.length, create.length, create.preallocation));
    let result = result.and(file.close().map_err(|source| failed(create, source)));
    // DIVERGES: what could not be made as wanted is not left behind as an empty file.
    if result.is_err() && is_new {
        // The reason for the failure is what counts; a file that can't be removed either doesn't change it.
        drop(connection.unlink(&create.options.path));
    }
    result
}

/// An empty file of that name, and whether it is a new one.
fn create_file(connection: &Connection, create: &Create) -> Result<(File, bool), Error> {
    let path = &create.options.path;
    match connection.create(path, libc::O_WRONLY | libc::O_EXCL) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.errno() == Errno::EEXIST => connection
            .create(path, libc::O_WRONLY | libc::O_TRUNC)
            .map(|file| (file, false))
            .map_err(|source| failed(create, source)),
        Err(source) => Err(failed(create, source)),
    }
}

/// The error of a step.
fn failed(create: &Create, source: gfapi::Error) -> Error {
    Error::Create {
        volume: create.options.volume.to_string_lossy().into_owned(),
        path: create.options.path.to_string_lossy().into_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> OptionMap {
        text.split(',').filter_map(|pair| pair.split_once('=')).collect()
    }

    const LOCATION: &str = "driver=gluster,location.volume=v,location.path=p,location.server.0.type=inet,\
                            location.server.0.host=h,location.server.0.port=24007";

    #[test]
    fn parse_create_options_takes_the_exact_size() {
        let create = parse_create_options(map(&format!("{LOCATION},size=1000"))).unwrap();
        assert_eq!((create.length, create.preallocation), (1000, Preallocation::Off));
    }

    #[test]
    fn parse_create_options_has_the_documented_defaults() {
        let create = parse_create_options(map(&format!("{LOCATION},size=1"))).unwrap();
        assert_eq!((create.options.debug, create.options.logfile.as_c_str()), (4, c"-"));
    }

    #[test]
    fn parse_create_options_refuses_vsock_and_fd() {
        for kind in ["vsock", "fd"] {
            let text = format!("location.volume=v,location.path=p,location.server.0.type={kind},size=1");
            let error = parse_create_options(map(&text)).unwrap_err();
            assert_eq!(error.errno(), Errno::EINVAL);
            assert!(error.to_string().contains(kind), "{error}");
        }
    }

    #[test]
    fn parse_create_options_refuses_a_size_that_no_file_can_have() {
        let text = format!("{LOCATION},size={}", u64::MAX);
        assert_eq!(parse_create_options(map(&text)).unwrap_err().errno(), Errno::EFBIG);
    }

    #[test]
    fn parse_create_opts_rounds_the_size_up_to_sectors() {
        let create = parse_create_opts(b"gluster://h/v/p", 513, None, None, None).unwrap();
        assert_eq!(create.length, 1024);
    }

    #[test]
    fn parse_create_opts_refuses_metadata_preallocation() {
        let error = parse_create_opts(b"gluster://h/v/p", 512, Some(b"metadata"), None, None).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
    }
}
