// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What goes wrong in the rbd driver, and the number that each failure becomes.

use super::format::FormatError;
use super::options::OptionsError;
use super::refusal::FeatureError;
use crate::errno::{Errno, ToErrno};
use crate::host::HostError;

/// A failure, with what its user needs to know.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// What the cluster says can't be understood, or can't be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An image with features that stand against what is wanted.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The secret with the key is not there.
    #[error("{0}")]
    Secret(HostError),
    /// Encryption within the driver.
    #[error("encryption by the rbd driver is not supported: leave out 'encrypt' and put a node with driver 'luks' on top")]
    Encryption,
    /// The configuration file can't be used.
    #[error("cannot read the configuration file '{file}': {errno}")]
    Conf {
        /// The file.
        file: String,
        /// The library's answer.
        errno: Errno,
    },
    /// A setting that the library refuses.
    #[error("cannot set the Ceph option '{key}': {errno}")]
    Setting {
        /// The setting; never its value, which may be a key.
        key: String,
        /// The library's answer.
        errno: Errno,
    },
    /// No connection to the cluster.
    // QEMU's own tests look for the words of the case that they try.
    #[error("error connecting{}: {errno}", as_user(user, *errno))]
    Connect {
        /// As whom.
        user: String,
        /// The library's answer.
        errno: Errno,
    },
    /// No such pool.
    #[error("cannot open pool '{pool}': {errno}")]
    Pool {
        /// The pool.
        pool: String,
        /// The cluster's answer.
        errno: Errno,
    },
    /// No such namespace.
    #[error("cannot open namespace '{namespace}' of pool '{pool}': {errno}")]
    Namespace {
        /// The pool.
        pool: String,
        /// The namespace.
        namespace: String,
        /// The cluster's answer.
        errno: Errno,
    },
    /// The image can't be opened.
    #[error("cannot open image '{image}': {what}: {errno}")]
    Open {
        /// The image.
        image: String,
        /// What was tried.
        what: &'static str,
        /// The cluster's answer.
        errno: Errno,
    },
    /// No such snapshot.
    #[error("image '{image}' has no snapshot '{snapshot}'")]
    NoSnapshot {
        /// The image.
        image: String,
        /// The snapshot.
        snapshot: String,
    },
    /// A snapshot is to be written.
    #[error("snapshot '{0}' can only be opened read-only: rbd snapshots are read-only")]
    SnapshotIsReadOnly(String),
    /// The image can't be created.
    #[error("cannot create image '{image}': {what}: {errno}")]
    Create {
        /// The image.
        image: String,
        /// What was tried.
        what: &'static str,
        /// The cluster's answer.
        errno: Errno,
    },
    /// A snapshot can't be made, used or removed.
    #[error("cannot {what} snapshot '{snapshot}': {errno}")]
    Snapshot {
        /// What was tried.
        what: &'static str,
        /// The snapshot.
        snapshot: String,
        /// The reason.
        errno: Errno,
    },
    /// The size can't be changed.
    #[error("cannot change the size to {size} bytes: {errno}")]
    Resize {
        /// The size that was wanted.
        size: u64,
        /// The cluster's answer.
        errno: Errno,
    },
    /// The lock that makes a client the only writer was set by a user.
    #[error("image '{image}' is locked by {holder}: end the lock with 'rbd lock remove' when you know that nobody uses the image")]
    LockHeld {
        /// The image.
        image: String,
        /// Who has it.
        holder: String,
    },
    /// The owner of the lock keeps it.
    #[error("image '{image}' is locked by {holder}, which keeps the lock for itself: {errno}")]
    LockRefused {
        /// The image.
        image: String,
        /// Who has it.
        holder: String,
        /// Its answer.
        errno: Errno,
    },
    /// The owner of the lock is gone, and can't be shut out.
    #[error("image '{image}' is still locked by {holder}, which is gone and can't be blocklisted: {errno}; the capability 'profile rbd' for monitors allows that")]
    Blocklist {
        /// The image.
        image: String,
        /// Who has it.
        holder: String,
        /// The monitor's answer.
        errno: Errno,
    },
    /// Another client has shut this one out.
    #[error("rbd image '{0}': this client was blocklisted, most likely as another one has taken over the image's lock; 'rbd status' and 'rbd lock ls' show who. Nothing was written since. Reopen the node to go on with a new connection")]
    Fenced(String),
    /// The lock went away while it was needed. What has to be whole begins again; nothing else was changed since.
    #[error("the lock of the image was lost meanwhile: an administrator has ended it, or another client has taken it")]
    LockLost,
    /// A number says everything.
    #[error("{0}")]
    Errno(Errno),
}

impl ToErrno for Error {
    fn errno(&self) -> Errno {
        match self {
            Self::Options(error) => error.errno(),
            Self::Format(error) => error.errno(),
            Self::Feature(error) => error.errno(),
            Self::Secret(_) => Errno::EIO,
            Self::Encryption => Errno::ENOTSUP,
            Self::Conf { errno, .. }
            | Self::Setting { errno, .. }
            | Self::Connect { errno, .. }
            | Self::Pool { errno, .. }
            | Self::Namespace { errno, .. }
            | Self::Open { errno, .. }
            | Self::Create { errno, .. }
            | Self::Snapshot { errno, .. }
            | Self::Resize { errno, .. }
            | Self::LockRefused { errno, .. }
            | Self::Blocklist { errno, .. }
            | Self::Errno(errno) => *errno,
            Self::NoSnapshot { .. } => Errno::ENOENT,
            Self::LockHeld { .. } => Errno::EBUSY,
            Self::LockLost => Errno::ENOLCK,
            Self::Fenced(_) => Errno::from_code(libc::ESHUTDOWN),
            Self::SnapshotIsReadOnly(_) => Errno::EACCES,
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Self::Secret(error)
    }
}

/// What is wrong with a part of the format is wrong with the format.
macro_rules! from_format {
    ($($part:ty),*) => {
        $(impl From<$part> for Error {
            fn from(error: $part) -> Self {
                Self::Format(error.into())
            }
        })*
    };
}

from_format!(
    super::format::encoding::DecodeError,
    super::format::features::ConfiguredFeatureError,
    super::format::format1::HeaderError,
    super::format::names::NameError,
    super::format::striping::LayoutError
);

impl Error {
    /// What to add to the message.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Connect { errno, .. } if errno.code() == libc::ETIMEDOUT => {
                Some("No monitor has answered. The Ceph option 'client_mount_timeout' says how long to wait.")
            }
            _ => None,
        }
    }
}

/// As whom one could not connect. Where there is no configuration or no key it doesn't matter yet.
fn as_user(user: &str, errno: Errno) -> String {
    if errno == Errno::ENOENT {
        String::new()
    } else {
        format!(" to Ceph as '{user}'")
    }
}

/// For what is done as well as it can be: that it failed changes nothing for who asked.
pub(super) fn ignore(_: Result<(), Errno>) {}

/// Whether the cluster has refused a change, so that it was surely not made.
pub(super) fn is_refusal(errno: Errno) -> bool {
    const REFUSALS: [i32; 9] = [
        libc::EEXIST,
        libc::ESTALE,
        libc::EDQUOT,
        libc::EINVAL,
        libc::ENOENT,
        libc::EPERM,
        libc::EACCES,
        libc::EROFS,
        libc::EOPNOTSUPP,
    ];
    REFUSALS.contains(&errno.code())
}

#[cfg(test)]
mod tests {
    use super::super::format::striping::LayoutError;
    use super::*;

    #[test]
    fn every_error_keeps_the_words_and_the_number_of_its_cause() {
        let size = LayoutError::Size(1 << 63);
        let error = Error::from(size);
        assert_eq!((error.to_string(), error.errno()), (size.to_string(), Errno::EFBIG));
        let error = Error::from(FeatureError::NonPrimary);
        assert_eq!((error.to_string(), error.errno()), (FeatureError::NonPrimary.to_string(), Errno::EROFS));
        assert_eq!(Error::from(OptionsError::Size(1)).errno(), Errno::EFBIG);
    }

    #[test]
    fn failed_connection_says_what_to_look_at() {
        let failed = |code| Error::Connect { user: "client.vm".into(), errno: Errno::from_code(code) };
        assert!(failed(libc::ETIMEDOUT).hint().is_some());
        assert!(failed(libc::ENOENT).hint().is_none());
        let words = |code| failed(code).to_string();
        assert_eq!(words(libc::EACCES), "error connecting to Ceph as 'client.vm': Permission denied");
        assert_eq!(words(libc::ENOENT), "error connecting: No such file or directory");
    }
}
