//! What the programs tell user space as it happens.

use crate::{addr::Endpoint, flow::Redirected};

/// A `deny` rule failed a connect().
pub const EVENT_DENIED: u32 = 1;
/// A connect() failed because no listener was alive.
pub const EVENT_NO_LISTENER: u32 = 2;
/// A connect() was refused because the socket is bound to a device.
pub const EVENT_DEVICE_BOUND: u32 = 3;
/// A connect() was refused because its network namespace has no listeners.
pub const EVENT_OTHER_NAMESPACE: u32 = 4;
/// A connect() was refused because the host has no address of the destination's family.
pub const EVENT_UNREACHABLE: u32 = 5;

/// A connect() failed because the proxy that its rule names had no listener.
pub const EVENT_NO_PROXY: u32 = 6;
/// No refusal: a connect() went direct because its network namespace has no listeners. Told only
/// where that may give it some, see [`crate::settings::SETTING_TELL_NAMESPACES`].
pub const EVENT_NAMESPACE_PASSED: u32 = 9;
/// A connect() of the kernel's own was refused: it is never redirected, and its rule is no plain one.
pub const EVENT_KERNEL_CLIENT: u32 = 8;

/// A rule denied UDP: connect(), or sending to an address.
pub const EVENT_DATAGRAM_DENIED: u32 = 7;

/// What was told of a socket's datagrams that were denied, kept with the socket. It may send without
/// end, and is told of once for each destination in turn.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ToldDenials {
    /// Where the last one of these went.
    pub destination: Endpoint,
    /// How many were told of, up to [`TOLD_DENIALS`].
    pub times: u32,
}

const _: () = assert!(size_of::<ToldDenials>() == 24);

/// Denials of one socket that are told of; the rest is counted.
pub const TOLD_DENIALS: u32 = 16;

/// A connection that the kernel refused; user space writes its record.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `EVENT_*`.
    pub kind: u32,
    /// The errno that the application got, positive.
    pub errno: u32,
    /// Cookie of the network namespace of the socket.
    pub netns: u64,
    /// Who wanted what.
    pub connection: Redirected,
}

const _: () = assert!(size_of::<Refused>() == 88);

/// Bytes of the ring buffer.
pub const EVENT_BUFFER: usize = 256 * 1024;
