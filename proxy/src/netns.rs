//! Network namespaces beside the daemon's own: a hold on one, and sockets that are made inside it.
//!
//! A socket belongs for life to the namespace in which it was made, and may be used from any
//! thread. So a thread enters a namespace for the one call that makes a socket, and never across an
//! `await`: whatever task runs next on that thread must find it at home.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    process,
    sync::{Arc, Weak},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};
use tokio::sync::watch;

use crate::{
    kernel::sys,
    refusal::{Reason, Refusal},
};

pub mod asked;
pub mod named;
pub mod source;
pub mod users;

/// Not `/proc/self`, which is of the process's first thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// Why something is not a namespace that can be served.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// It cannot be opened.
    #[error("opening the network namespace {path}: {source}{}", advice(source))]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else is there.
    #[error("{0} is no network namespace; `ip netns add` puts one there")]
    NotOne(PathBuf),
    /// It cannot be entered.
    #[error(
        "entering the network namespace {path}: {source}; it takes CAP_SYS_ADMIN, here and in the \
         user namespace that owns it"
    )]
    Enter {
        /// Where it was found.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; for other users' processes it takes CAP_SYS_PTRACE",
        _ => "",
    }
}

impl NamespaceError {
    /// Whether there is none, or no process any more whose it was.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Open { source, .. } => matches!(
                source.raw_os_error().map(Errno::from_raw),
                Some(Errno::ENOENT | Errno::ESRCH)
            ),
            Self::NotOne(_) => true,
            Self::Enter { .. } => false,
        }
    }

    /// Whether this process lacks a capability for it.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Self::Enter { .. } => true,
            Self::NotOne(_) => false,
        }
    }
}

/// What tells a namespace from all others that exist at the same time: device and inode of its
/// file, as `readlink` and `lsns` show the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    device: u64,
    /// The number in `net:[…]`.
    pub inode: u64,
}

impl Id {
    /// Of the namespace that is at a path.
    ///
    /// # Errors
    /// Nothing is there, or the process whose it was has ended.
    pub fn at(path: &Path) -> io::Result<Self> {
        path.metadata().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A network namespace, which lasts for as long as this is held. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cookie: u64,
    id: Id,
    file: Arc<File>,
    /// The daemon's own, to go back to; none in its own handle.
    home: Option<Arc<File>>,
    life: watch::Sender<Life>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Somebody uses it.
    Used,
    /// Nobody does; what is under way may end.
    Ended,
    /// What is left of that is to end now.
    Cut,
}

/// A namespace that nobody uses any more and that is not held for its own sake.
#[derive(Debug)]
pub struct Remains(Weak<Inner>);

/// Leads back from a namespace.
struct Inside<'a> {
    home: &'a File,
}

impl Namespace {
    /// That of this thread, which is the daemon's own: nothing is entered for it.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn own(cookie: u64) -> io::Result<Self> {
        let file = File::open(OWN)?;
        let id = Id::of(&file.metadata()?);
        Ok(Self::new(cookie, id, file, None))
    }

    /// The one that is at `path`, seen from the daemon's own.
    ///
    /// # Errors
    /// [`NamespaceError`]
    pub fn open(path: &Path, own: &Self) -> Result<Self, NamespaceError> {
        let failed = |source| NamespaceError::Open {
            path: path.into(),
            source,
        };
        // Where it is expected there may be anything, a pipe too.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        let kind = fstatfs(&file).map_err(|error| failed(error.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(NamespaceError::NotOne(path.into()));
        }
        let id = Id::of(&file.metadata().map_err(failed)?);
        let home = Arc::clone(&own.inner.file);
        // A file that was opened at a mount keeps that busy, and one of the thread's own does not.
        let inside = || Ok((sys::netns_cookie()?, File::open(OWN)?));
        let found = within(&file, &home, inside).and_then(|found: io::Result<_>| found);
        let (cookie, file) = found.map_err(|source| NamespaceError::Enter {
            path: path.into(),
            source,
        })?;
        Ok(Self::new(cookie, id, file, Some(home)))
    }

    /// The one at `path`, which may be `own`.
    ///
    /// # Errors
    /// [`NamespaceError`]
    pub fn at(path: &Path, own: &Self) -> Result<Self, NamespaceError> {
        match Id::at(path) {
            Ok(id) if id == own.id() => Ok(own.clone()),
            Ok(_) => Self::open(path, own),
            Err(source) => Err(NamespaceError::Open {
                path: path.into(),
                source,
            }),
        }
    }

    fn new(cookie: u64, id: Id, file: File, home: Option<Arc<File>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                cookie,
                id,
                file: Arc::new(file),
                home,
                life: watch::channel(Life::Used).0,
            }),
        }
    }

    /// Its cookie: the number that no other namespace has, until the machine starts again.
    pub fn cookie(&self) -> u64 {
        self.inner.cookie
    }

    /// Which one it is.
    pub fn id(&self) -> Id {
        self.inner.id
    }

    /// Its cookie, unless it is the daemon's own.
    pub fn other(&self) -> Option<u64> {
        self.inner.home.as_ref().map(|_| self.inner.cookie)
    }

    /// Its file.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.file.as_fd()
    }

    /// Where another process finds it while this one holds it.
    pub fn file(&self) -> PathBuf {
        let fd = self.inner.file.as_raw_fd();
        format!("/proc/{}/fd/{fd}", process::id()).into()
    }

    /// Runs `make` inside it. What `make` does costs two system calls more in another namespace
    /// than the daemon's, and none in that.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_ADMIN, here or in the user namespace that owns it.
    pub fn enter<T>(&self, make: impl FnOnce() -> T) -> io::Result<T> {
        match &self.inner.home {
            None => Ok(make()),
            Some(home) => within(&self.inner.file, home, make),
        }
    }

    /// Nobody uses it any more: its tunnels are not kept, and it goes with the last connection that
    /// is left of it.
    pub fn end(self) -> Remains {
        self.inner.life.send_replace(Life::Ended);
        Remains(Arc::downgrade(&self.inner))
    }

    /// Whether nobody uses it any more.
    pub fn has_ended(&self) -> bool {
        *self.inner.life.borrow() != Life::Used
    }

    /// Resolves when nobody uses it any more; never in the daemon's own.
    pub async fn ended(&self) {
        let mut life = self.inner.life.subscribe();
        if life.wait_for(|life| *life != Life::Used).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when a connection in it has to end whatever it does; never in the daemon's own.
    pub async fn cut_off(&self) -> Refusal {
        if self.inner.home.is_none() {
            return std::future::pending().await;
        }
        let mut life = self.inner.life.subscribe();
        if life.wait_for(|life| *life == Life::Cut).await.is_err() {
            std::future::pending::<()>().await;
        }
        Refusal::new(
            Reason::NamespaceGone,
            "the last process in the connection's network namespace ended daemon.drain ago",
        )
    }
}

fn within<T>(namespace: &File, home: &File, make: impl FnOnce() -> T) -> io::Result<T> {
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    let _back = Inside { home };
    Ok(make())
}

impl Remains {
    /// Whether its last connection has ended, so that we do not hold it any more.
    pub fn are_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Ends the connections that are left.
    pub fn cut(&self) {
        if let Some(inner) = self.0.upgrade() {
            inner.life.send_replace(Life::Cut);
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Err(error) = setns(self.home, CloneFlags::CLONE_NEWNET) {
            // Everything that this thread made from here on would be in somebody else's network.
            tracing::error!(%error, "going back to the own network namespace; the daemon ends");
            process::abort();
        }
    }
}
