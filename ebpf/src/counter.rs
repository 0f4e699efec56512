//! Counters of the programs, one per event; per CPU in the kernel, summed by user space.

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Index of a counter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// Every counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its word in `status` and metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

counters! {
    /// connect() sent to a listener of ours.
    Redirected = "redirected",
    /// connect() of the daemon's own canary, or of another task to the same place, sent to a
    /// listener of ours.
    Canary = "canary",
    /// connect() sent to the listener of somebody else's proxy.
    RedirectedToProxy = "redirected_to_proxy",
    /// connect() of such a proxy itself, under a rule that redirects: direct.
    ProxyDirect = "proxy_direct",
    /// connect() failed by a `deny` rule.
    Denied = "denied",
    /// connect() failed because no listener was alive.
    NoListenerBlocked = "no_listener_blocked",
    /// connect() went direct because no listener was alive.
    NoListenerPassed = "no_listener_passed",
    /// connect() failed because the kernel had no memory to remember the destination.
    NoMemory = "no_memory",
    /// connect() in a namespace without listeners, refused.
    OtherNamespaceBlocked = "other_namespace_blocked",
    /// connect() in a namespace without listeners, direct.
    OtherNamespacePassed = "other_namespace_passed",
    /// connect() to an address family that the host does not have, refused.
    FamilyUnreachable = "family_unreachable",
    /// connect() on a socket bound to a device, direct.
    DevicePassed = "device_passed",
    /// connect() on a socket bound to a device, refused.
    DeviceBound = "device_bound",
    /// A rule denied UDP: connect(), or one datagram.
    UdpDenied = "udp_denied",
    /// A rule let UDP pass.
    UdpPassed = "udp_passed",
    /// UDP to a destination of which rules speak for TCP alone, direct.
    UdpUnruled = "udp_unruled",
    /// The same of another protocol than TCP and UDP: UDP-Lite, ping sockets.
    OtherProtocol = "other_protocol",
    /// connect() of the kernel's own (NFS, SMB, Ceph), direct.
    KernelPassed = "kernel_passed",
    /// connect() of the kernel's own, refused.
    KernelBlocked = "kernel_blocked",
    /// A rule said to leave it alone.
    Ignored = "ignored",
    /// A flow was noted for the proxy's accept.
    Pending = "pending",
    /// A flow could not be noted; the proxy will close it.
    PendingFailed = "pending_failed",
    /// A handshake failed and its note was removed.
    HandshakeFailed = "handshake_failed",
    /// An accepted socket of the proxy got its original destination.
    Accepted = "accepted",
    /// An accepted socket of an application got its client's address.
    Served = "served",
    /// An accepted socket of an application did not get its client's address.
    ServedUnknown = "served_unknown",
    /// A SYN from outside was steered to the inbound listener.
    Steered = "steered",
    /// A SYN was dropped because no application listens.
    NotListening = "not_listening",
    /// A SYN was dropped because no inbound listener is alive.
    InboundNoListener = "inbound_no_listener",
    /// An event for user space found its buffer full.
    EventLost = "event_lost",
}

/// Number of counters.
pub const COUNTERS: usize = Counter::ALL.len();
