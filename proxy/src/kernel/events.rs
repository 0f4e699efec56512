//! Connections that the kernel refused, as they happen.

use std::{io, pin::pin};

use aya::maps::{MapData, RingBuf};
use sidetrack_abi::event::{
    EVENT_DATAGRAM_DENIED, EVENT_DENIED, EVENT_DEVICE_BOUND, EVENT_KERNEL_CLIENT,
    EVENT_NO_LISTENER, EVENT_NO_PROXY, EVENT_OTHER_NAMESPACE, EVENT_UNREACHABLE, Refused,
};
use tokio::task::yield_now;

use super::sys::{read_refused, watch_ring};
use crate::refusal::{Reason, Refusal};

/// Events that are taken before other tasks of the thread have their turn: an application that
/// connects in a loop fills the ring as fast as it is read.
const TURN: usize = 256;

/// The programs' ring buffer of refusals.
pub struct RefusedEvents {
    pub(super) ring: RingBuf<MapData>,
}

impl RefusedEvents {
    /// Calls `each` for every refusal until `detached`, and then for those that are left in the
    /// ring: nothing is added to it once no program is attached.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn run(
        self,
        mut each: impl FnMut(&Refused),
        detached: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut ring = watch_ring(self.ring)?;
        let mut detached = pin!(detached);
        loop {
            tokio::select! {
                biased;
                () = &mut detached => break,
                guard = ring.readable_mut() => {
                    let mut guard = guard?;
                    empty(|| take(guard.get_inner_mut(), &mut each)).await;
                    guard.clear_ready();
                }
            }
        }
        empty(|| take(ring.get_mut(), &mut each)).await;
        Ok(())
    }
}

/// Whether there was one.
fn take(ring: &mut RingBuf<MapData>, each: &mut impl FnMut(&Refused)) -> bool {
    let Some(item) = ring.next() else {
        return false;
    };
    if let Some(refused) = read_refused(&item) {
        each(&refused);
    }
    true
}

/// Takes one after another until there is none, in turns.
async fn empty(mut take: impl FnMut() -> bool) {
    loop {
        for _ in 0..TURN {
            if !take() {
                return;
            }
        }
        yield_now().await;
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
        EVENT_DATAGRAM_DENIED => (
            Reason::DeniedByRule,
            format!("connect() or sending by UDP failed with {errno}"),
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
            format!(
                "connect() failed with {errno}: the network namespace {} has no listener yet",
                refused.netns
            ),
        ),
        EVENT_UNREACHABLE => (
            Reason::Unreachable,
            format!("connect() failed with {errno}: this host has no address of that family"),
        ),
        EVENT_KERNEL_CLIENT => (
            Reason::KernelClient,
            format!("connect() failed with {errno}: the socket is the kernel's own"),
        ),
        EVENT_NO_LISTENER => (Reason::NoListener, format!("connect() failed with {errno}")),
        EVENT_NO_PROXY => (
            Reason::NoListener,
            format!(
                "connect() failed with {errno}: the proxy that the rule names is not there; \
                 `sidetrack status` says why, and in another network namespace than the daemon's it \
                 takes the proxy's `cgroup`"
            ),
        ),
        _ => (Reason::Internal, format!("connect() failed with {errno}")),
    };
    Refusal::new(reason, detail)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn other_tasks_have_their_turn_while_a_full_ring_is_read() {
        let taken = Cell::new(0);
        let reading = empty(|| {
            taken.set(taken.get() + 1);
            taken.get() <= 3 * TURN
        });
        let other = async { taken.get() };
        let ((), seen) = tokio::join!(reading, other);
        assert_eq!(seen, TURN);
        assert_eq!(taken.get(), 3 * TURN + 1);
    }
}
