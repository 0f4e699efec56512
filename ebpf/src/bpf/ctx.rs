//! The only raw access to the kernel's contexts.
//!
//! Every field is read and written volatile and alone. Otherwise the compiler merges neighbouring
//! stores ("invalid bpf_context access off=32 size=8") or selects between two fields by pointer
//! arithmetic ("dereference of modified ctx ptr"), and the verifier rejects both.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr, bpf_sock_ops, bpf_sockopt},
    helpers::generated as helpers,
    programs::{SockAddrContext, SockOpsContext, SockoptContext},
};
use sidetrack_abi::{Address, Endpoint, flow::FAMILY_V4};

/// `AF_INET`
pub(super) const AF_INET: u32 = 2;
/// `AF_INET6`
pub(super) const AF_INET6: u32 = 10;
/// `SOL_SOCKET`
const SOL_SOCKET: i32 = 1;
/// `SO_BINDTOIFINDEX`
const SO_BINDTOIFINDEX: i32 = 62;
/// `IPPROTO_TCP`
pub(super) const IPPROTO_TCP: u32 = 6;
/// `IPPROTO_UDP`
pub(super) const IPPROTO_UDP: u32 = 17;

macro_rules! read {
    ($raw:expr, $($field:tt)+) => {
        // SAFETY: the kernel hands out a valid context for the program's run; the verifier
        // checks each access.
        unsafe { read_volatile(&raw const (*$raw).$($field)+) }
    };
}

macro_rules! write {
    ($raw:expr, $value:expr, $($field:tt)+) => {
        // SAFETY: as in `read!`.
        unsafe { write_volatile(&raw mut (*$raw).$($field)+, $value) }
    };
}

macro_rules! words {
    // An array is read word by word: a wider load of it is rejected.
    ($raw:expr, $field:ident) => {
        [
            read!($raw, $field[0]),
            read!($raw, $field[1]),
            read!($raw, $field[2]),
            read!($raw, $field[3]),
        ]
    };
}

/// Takes both addresses as values that are read already. A choice between two *fields* would be
/// compiled to a choice between two offsets: "dereference of modified ctx ptr R1 off=44
/// disallowed". The one that does not apply reads as zero.
#[inline(always)]
fn by_family(v4: bool, word: u32, words: [u32; 4]) -> Address {
    if v4 {
        Address::from_v4_word(word)
    } else {
        Address::from_words(words)
    }
}

// After the macros, which it uses too.
mod lookup;

pub(super) use lookup::Lookup;

/// A socket that the kernel hands out.
#[derive(Clone, Copy)]
pub(super) struct Sock(*mut bpf_sock);

impl Sock {
    #[inline(always)]
    fn new(raw: *mut bpf_sock) -> Option<Self> {
        if raw.is_null() { None } else { Some(Self(raw)) }
    }

    #[inline(always)]
    pub(super) fn as_ptr(self) -> *mut bpf_sock {
        self.0
    }

    #[inline(always)]
    pub(super) fn bound_device(self) -> u32 {
        read!(self.0, bound_dev_if)
    }

    #[inline(always)]
    pub(super) fn mark(self) -> u32 {
        read!(self.0, mark)
    }

    /// Its own end. `src_port` is in host order.
    #[inline(always)]
    pub(super) fn local(self) -> Endpoint {
        let address = by_family(
            read!(self.0, family) == AF_INET,
            read!(self.0, src_ip4),
            words!(self.0, src_ip6),
        );
        Endpoint::new(address, read!(self.0, src_port) as u16)
    }

    /// Whether bind() gave it an IPv4 source address.
    #[inline(always)]
    pub(super) fn has_source_v4(self) -> bool {
        read!(self.0, src_ip4) != 0
    }

    /// Whether bind() gave it an IPv6 source address.
    #[inline(always)]
    pub(super) fn has_source_v6(self) -> bool {
        let [a, b, c, d] = words!(self.0, src_ip6);
        a | b | c | d != 0
    }
}

/// Context of connect, sendmsg, getpeername and getsockname.
#[derive(Clone, Copy)]
pub(super) struct SockAddr(*mut bpf_sock_addr);

impl SockAddr {
    #[inline(always)]
    pub(super) fn new(ctx: &SockAddrContext) -> Self {
        Self(ctx.sock_addr)
    }

    #[inline(always)]
    pub(super) fn sock(self) -> Option<Sock> {
        // SAFETY: the union's only pointer member; the verifier knows its type.
        Sock::new(unsafe { (*self.0).__bindgen_anon_1.sk })
    }

    #[inline(always)]
    pub(super) fn protocol(self) -> u32 {
        read!(self.0, protocol)
    }

    #[inline(always)]
    pub(super) fn v4(self) -> Endpoint {
        Endpoint::from_be(Address::from_v4_word(read!(self.0, user_ip4)), self.port())
    }

    #[inline(always)]
    pub(super) fn v6(self) -> Endpoint {
        Endpoint::from_be(Address::from_words(words!(self.0, user_ip6)), self.port())
    }

    /// The field is 32 bits wide and holds 16 in network order.
    #[inline(always)]
    fn port(self) -> u16 {
        read!(self.0, user_port) as u16
    }

    #[inline(always)]
    pub(super) fn set_v4(self, word: u32) {
        write!(self.0, word, user_ip4);
    }

    #[inline(always)]
    pub(super) fn set_v6(self, words: [u32; 4]) {
        write!(self.0, words[0], user_ip6[0]);
        write!(self.0, words[1], user_ip6[1]);
        write!(self.0, words[2], user_ip6[2]);
        write!(self.0, words[3], user_ip6[3]);
    }

    #[inline(always)]
    pub(super) fn set_port(self, port_be: u16) {
        write!(self.0, u32::from(port_be), user_port);
    }

    #[inline(always)]
    pub(super) fn netns_cookie(self) -> u64 {
        // SAFETY: a helper of this program type.
        unsafe { helpers::bpf_get_netns_cookie(self.0.cast()) }
    }

    /// The byte that IP_TOS or IPV6_TCLASS set; 0 if it cannot be read (an IPv6 socket that
    /// connects to IPv4 has both, and the kernel hands out neither).
    #[inline(always)]
    pub(super) fn type_of_service(self, family: u32) -> u32 {
        let (level, name) = if family == FAMILY_V4 {
            (0, 1)
        } else {
            (41, 67)
        };
        let mut value = 0_u32;
        // SAFETY: a helper of connect programs; it writes at most the four bytes that it is given.
        let failed = unsafe {
            helpers::bpf_getsockopt(self.0.cast(), level, name, (&raw mut value).cast(), 4)
        };
        if failed == 0 { value } else { 0 }
    }

    /// Binds the socket to a device, or to none with 0; false if the kernel refuses it. That is so
    /// for a socket that is bound already, whose task lacks CAP_NET_RAW
    /// (`sock_bindtoindex_locked()`, net/core/sock.c).
    #[inline(always)]
    pub(super) fn bind_to_device(self, index: u32) -> bool {
        let mut value = index;
        // SAFETY: a helper of connect programs; it reads the four bytes that it is given.
        let failed = unsafe {
            helpers::bpf_setsockopt(
                self.0.cast(),
                SOL_SOCKET,
                SO_BINDTOIFINDEX,
                (&raw mut value).cast(),
                4,
            )
        };
        failed == 0
    }

    #[inline(always)]
    pub(super) fn socket_cookie(self) -> u64 {
        // SAFETY: a helper of this program type.
        unsafe { helpers::bpf_get_socket_cookie(self.0.cast()) }
    }
}

/// Context of sockops.
#[derive(Clone, Copy)]
pub(super) struct SockOps(*mut bpf_sock_ops);

impl SockOps {
    #[inline(always)]
    pub(super) fn new(ctx: &SockOpsContext) -> Self {
        Self(ctx.ops)
    }

    #[inline(always)]
    pub(super) fn op(self) -> u32 {
        read!(self.0, op)
    }

    #[inline(always)]
    pub(super) fn sock(self) -> Option<Sock> {
        // SAFETY: the union's only pointer member; the verifier knows its type.
        Sock::new(unsafe { (*self.0).__bindgen_anon_2.sk })
    }

    #[inline(always)]
    pub(super) fn netns_cookie(self) -> u64 {
        // SAFETY: a helper of this program type.
        unsafe { helpers::bpf_get_netns_cookie(self.0.cast()) }
    }

    /// The socket's own end. `local_port` is in host order, alone among all of these.
    #[inline(always)]
    pub(super) fn local(self) -> Endpoint {
        let address = by_family(
            read!(self.0, family) == AF_INET,
            read!(self.0, local_ip4),
            words!(self.0, local_ip6),
        );
        Endpoint::new(address, read!(self.0, local_port) as u16)
    }

    /// The other end. `remote_port` is 32 bits in network order: the port is in its upper half.
    #[inline(always)]
    pub(super) fn remote(self) -> Endpoint {
        let address = by_family(
            read!(self.0, family) == AF_INET,
            read!(self.0, remote_ip4),
            words!(self.0, remote_ip6),
        );
        Endpoint::new(address, u32::from_be(read!(self.0, remote_port)) as u16)
    }

    /// Old and new state of a state change.
    #[inline(always)]
    pub(super) fn states(self) -> (u32, u32) {
        // SAFETY: `args` is the member that holds for a state change.
        let args = unsafe { &raw const (*self.0).__bindgen_anon_1.args }.cast::<u32>();
        // SAFETY: two words of the four that the member has.
        unsafe { (read_volatile(args), read_volatile(args.add(1))) }
    }

    #[inline(always)]
    pub(super) fn callback_flags(self) -> u32 {
        read!(self.0, bpf_sock_ops_cb_flags)
    }

    #[inline(always)]
    pub(super) fn set_callback_flags(self, flags: u32) {
        // SAFETY: a helper of this program type. It fails only for a socket that is not full,
        // which none of our operations concerns.
        let _ = unsafe { helpers::bpf_sock_ops_cb_flags_set(self.0, flags as i32) };
    }
}

/// Context of getsockopt.
#[derive(Clone, Copy)]
pub(super) struct Sockopt(*mut bpf_sockopt);

impl Sockopt {
    #[inline(always)]
    pub(super) fn new(ctx: &SockoptContext) -> Self {
        Self(ctx.sockopt)
    }

    #[inline(always)]
    pub(super) fn sock(self) -> Option<Sock> {
        // SAFETY: the union's only pointer member; the verifier knows its type.
        Sock::new(unsafe { (*self.0).__bindgen_anon_1.sk })
    }

    #[inline(always)]
    pub(super) fn level(self) -> i32 {
        read!(self.0, level)
    }

    #[inline(always)]
    pub(super) fn name(self) -> i32 {
        read!(self.0, optname)
    }

    #[inline(always)]
    pub(super) fn length(self) -> i32 {
        read!(self.0, optlen)
    }

    #[inline(always)]
    pub(super) fn set_length(self, length: i32) {
        write!(self.0, length, optlen);
    }

    #[inline(always)]
    pub(super) fn succeed(self) {
        write!(self.0, 0, retval);
    }

    /// Room for `LEN` bytes of the answer.
    #[inline(always)]
    pub(super) fn room<const LEN: usize>(self) -> Option<*mut u8> {
        // SAFETY: the pointer members of these unions hold for this program type.
        let (start, end) = unsafe {
            (
                (*self.0).__bindgen_anon_2.optval as usize,
                (*self.0).__bindgen_anon_3.optval_end as usize,
            )
        };
        if start + LEN > end {
            None
        } else {
            Some(start as *mut u8)
        }
    }
}
