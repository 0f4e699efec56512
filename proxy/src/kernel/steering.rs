//! Connections from outside in other network namespaces. sk_lookup is attached to each by itself,
//! and has the namespace's cookie as a constant: a program for each, on the maps of all.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use sidetrack_abi::names::program;

use super::{
    KernelError, Redirector,
    attach::SK_LOOKUP,
    effective::{Effective, Fault, elsewhere, fault},
    load,
    pins::steering_name,
    sys::{
        self,
        link::{self, LinkTarget},
    },
};
use crate::netns::Namespace;

/// What steers in one namespace. It is pinned, and goes on without this process.
pub struct Steering {
    link: OwnedFd,
    program: u32,
    target: LinkTarget,
}

impl Redirector {
    /// Attaches sk_lookup to a namespace whose inbound listeners are registered, or puts this
    /// build's program in the place of one that a daemon before this one has left there.
    pub fn steer_in(&self, namespace: &Namespace) -> Result<Steering, KernelError> {
        let netns = namespace.cookie();
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            KernelError::new(
                format!(
                    "attaching {} to network namespace {netns}",
                    program::SK_LOOKUP
                ),
                "it needs CAP_NET_ADMIN, and a namespace takes 64 such programs",
                error,
            )
        };
        let pins = self.pins.lock();
        let pins = pins
            .as_ref()
            .ok_or_else(|| failed(io::Error::from(io::ErrorKind::Unsupported).into()))?;
        let bpf = load::load_steering(netns, pins).map_err(|error| failed(error.into()))?;
        let found = bpf.program(program::SK_LOOKUP);
        let found = found.ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound).into()))?;
        let fd = found.fd().map_err(|error| failed(error.into()))?;
        let id = found.info().map_err(|error| failed(error.into()))?.id();
        let target = LinkTarget::Netns {
            inode: namespace.id().inode,
            attach_type: SK_LOOKUP,
        };
        let name = steering_name(netns);
        let pinned = pins.link(&name).map_err(|error| failed(error.into()))?;
        let there = pinned
            .filter(|link| link::link_info(link.as_fd()).is_ok_and(|info| info.target == target));
        let link = match there {
            Some(link) => {
                link::update_link(link.as_fd(), fd.as_fd())
                    .map_err(|error| failed(error.into()))?;
                link
            }
            None => {
                let made = link::create_link(fd.as_fd(), namespace.as_fd(), SK_LOOKUP)
                    .map_err(|error| failed(error.into()))?;
                pins.stage_link(&name, &made)
                    .and_then(|()| pins.commit_link(&name))
                    .map_err(|error| failed(error.into()))?;
                made
            }
        };
        Ok(Steering {
            link,
            program: id,
            target,
        })
    }

    /// What the kernel runs in the namespace, and whether it would go on without this process.
    pub fn proof_of_steering(
        &self,
        steering: &Steering,
        namespace: &Namespace,
    ) -> (Effective, Option<Fault>) {
        let order = sys::query_programs(namespace.as_fd(), SK_LOOKUP, false);
        let info = link::link_info(steering.link.as_fd());
        let holds = info
            .as_ref()
            .is_ok_and(|info| info.target == steering.target && info.program == steering.program);
        let inode = namespace.id().inode;
        let found = elsewhere::effective(steering.program, inode, order.unwrap_or_default(), holds);
        let pins = self.pins.lock();
        let unpinned = match (info, pins.as_ref()) {
            (Ok(info), Some(pins)) if found.effective => {
                fault::of_pin(&steering_name(namespace.cookie()), &info, pins)
            }
            _ => None,
        };
        (found, unpinned)
    }

    /// Nobody uses a namespace any more: its pin goes.
    pub fn end_steering(&self, netns: u64) {
        if let Some(pins) = self.pins.lock().as_ref()
            && let Err(error) = pins.remove_steering(netns)
        {
            tracing::warn!(netns, %error, "removing what steered in a network namespace");
        }
    }
}
