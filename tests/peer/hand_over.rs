//! A socket that one process makes and another uses: SCM_RIGHTS over a Unix socket.

use std::{
    io::{Error, ErrorKind, IoSlice, IoSliceMut, Result},
    os::{
        fd::{AsRawFd, FromRawFd as _, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use socket2::Socket;

/// Gives `socket` to whoever connects to `path`.
pub(crate) fn give(path: &Path, socket: &Socket) -> Result<()> {
    let (stream, _) = UnixListener::bind(path)?.accept()?;
    let descriptors = [socket.as_raw_fd()];
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(b"!")],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Takes the socket that is given at `path`, once somebody gives it.
#[expect(
    unsafe_code,
    reason = "a descriptor that came in a message is a number"
)]
pub(crate) fn take(path: &Path) -> Result<Socket> {
    let stream = connect(path)?;
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part
            && let [descriptor] = descriptors[..]
        {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            return Ok(unsafe { Socket::from_raw_fd(descriptor) });
        }
    }
    Err(Error::other("no socket was given"))
}

fn connect(path: &Path) -> Result<UnixStream> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) && Instant::now() < until =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            connected => return connected,
        }
    }
}
