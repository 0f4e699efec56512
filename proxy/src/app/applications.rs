//! Who listens on this host, as the programs and the rules know it.

use super::App;
use crate::{
    control::ports::{InboundPort, inbound_ports},
    inbound::owners::selected_cgroups,
    kernel::{
        KernelError,
        listening::{self, Mend},
    },
};

impl App {
    /// Counts who listens, before the programs are there to do it.
    pub(super) fn count_listeners(&self) -> Result<(), KernelError> {
        self.take_in_listeners(Mend::AtOnce)
    }

    /// Looks at who listens, for sk_lookup and for rules that say who may.
    pub(super) fn look_at_listeners(&self) -> Result<(), KernelError> {
        // Held from before the kernel's list is read: two passes at once could confirm each
        // other by what both read too early.
        let mut suspects = self.suspects.lock();
        self.take_in_listeners(Mend::SeenTwice(&mut suspects))
    }

    /// Mends now what is wrong now, without a second to wait between the two passes.
    pub(super) fn look_twice_at_listeners(&self) -> Result<(), KernelError> {
        self.look_at_listeners()?;
        self.look_at_listeners()
    }

    pub(super) fn take_in_listeners(&self, mend: Mend<'_>) -> Result<(), KernelError> {
        let sockets = listening::sockets()?;
        let governed = self.governed_ids();
        self.redirector
            .reconcile_listening(&sockets, governed.as_ref(), mend)?;
        let policy = self.data.policy.load();
        self.data
            .inward
            .owners
            .update(&sockets, selected_cgroups(&policy.config));
        Ok(())
    }

    /// The ports of the inbound rules on which something listens; none if the kernel's list
    /// cannot be read, which the log then says.
    pub fn inbound_ports(&self) -> Vec<InboundPort> {
        let sockets = listening::sockets().unwrap_or_else(|error| {
            tracing::warn!(%error, "looking at inbound ports");
            Vec::new()
        });
        let policy = self.data.policy.load();
        inbound_ports(&policy.config, &sockets, self.governed_ids().as_ref())
    }
}
