//! Connections that the kernel refused, as they happen.

use std::io;

use aya::maps::{MapData, RingBuf};
use sidetrack_abi::event::{
    EVENT_DENIED, EVENT_DEVICE_BOUND, EVENT_NO_LISTENER, EVENT_OTHER_NAMESPACE, Refused,
};

use super::sys::{read_refused, watch_ring};
use crate::refusal::{Reason, Refusal};

/// The programs' ring buffer of refusals.
pub struct RefusedEvents {
    pub(super) ring: RingBuf<MapData>,
}

impl RefusedEvents {
    /// Calls `each` for every refusal until the future is dropped.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn run(self, mut each: impl FnMut(&Refused)) -> io::Result<()> {
        let mut ring = watch_ring(self.ring)?;
        loop {
            let mut guard = ring.readable_mut().await?;
            while let Some(item) = guard.get_inner_mut().next() {
                if let Some(refused) = read_refused(&item) {
                    each(&refused);
                }
            }
            guard.clear_ready();
        }
    }
}

/// The reason of a refusal in the kernel.
pub fn refusal(refused: &Refused) -> Refusal {
    let errno = nix::errno::Errno::from_raw(refused.errno.cast_signed());
    let (reason, detail) = match refused.kind {
        EVENT_DENIED => (
            Reason::DeniedByRule,
            format!("connect() failed with {errno}"),
        ),
        EVENT_DEVICE_BOUND => (
            Reason::DeviceBound,
            format!(
                "connect() failed with {errno}: the socket is bound to interface {}",
                refused.connection.device
            ),
        ),
        EVENT_OTHER_NAMESPACE => (
            Reason::OtherNamespace,
            format!("connect() failed with {errno}: this daemon has no listener there"),
        ),
        EVENT_NO_LISTENER => (Reason::NoListener, format!("connect() failed with {errno}")),
        _ => (Reason::Internal, format!("connect() failed with {errno}")),
    };
    Refusal::new(reason, detail)
}
