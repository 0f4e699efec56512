//! What is kept with a socket, and goes when it goes.

use core::ptr::null_mut;

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE, btf_maps::SkStorage, helpers::generated as helpers,
};
use sidetrack_abi::{
    Endpoint, OwnSocket, Redirected,
    event::{TOLD_DENIALS, ToldDenials},
};

use super::{ACCEPTED, CLIENT, OWN, SERVED, TOLD};
use crate::bpf::ctx::Sock;

/// What is kept with a socket in `map`, if anything.
#[inline(always)]
fn stored<T: Copy>(map: &SkStorage<T>, sock: Sock) -> Option<T> {
    // SAFETY: a helper of every program type that calls this; null if there is nothing.
    let found = unsafe {
        helpers::bpf_sk_storage_get(
            core::ptr::from_ref(map).cast_mut().cast(),
            sock.as_ptr().cast(),
            null_mut(),
            0,
        )
    }
    .cast::<T>();
    if found.is_null() {
        None
    } else {
        // SAFETY: not null, and lives as long as the socket, which the program holds.
        Some(unsafe { *found })
    }
}

/// Keeps `value` with a socket in `map`; false without memory.
#[inline(always)]
fn store<T: Copy>(map: &SkStorage<T>, sock: Sock, value: &T) -> bool {
    // SAFETY: as above. The initial value of the helper would be taken only when it creates, so
    // that a socket's second connection would keep the destination of its first.
    let found = unsafe {
        helpers::bpf_sk_storage_get(
            core::ptr::from_ref(map).cast_mut().cast(),
            sock.as_ptr().cast(),
            null_mut(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
    }
    .cast::<T>();
    if found.is_null() {
        return false;
    }
    // SAFETY: not null and as large as the value.
    unsafe { *found = *value };
    true
}

/// What a redirected client socket asked for.
#[inline(always)]
pub(in crate::bpf) fn client(sock: Sock) -> Option<Redirected> {
    stored(&CLIENT, sock)
}

#[inline(always)]
pub(in crate::bpf) fn set_client(sock: Sock, redirected: &Redirected) -> bool {
    store(&CLIENT, sock, redirected)
}

/// The socket is not redirected, or not any more.
#[inline(always)]
pub(in crate::bpf) fn forget_client(sock: Sock) {
    // SAFETY: a helper of this program type. Nothing to delete is no error to anybody.
    let _ = unsafe {
        helpers::bpf_sk_storage_delete((&raw const CLIENT).cast_mut().cast(), sock.as_ptr().cast())
    };
}

/// What the client of one of the proxy's accepted sockets asked for.
#[inline(always)]
pub(in crate::bpf) fn accepted(sock: Sock) -> Option<Redirected> {
    stored(&ACCEPTED, sock)
}

#[inline(always)]
pub(in crate::bpf) fn set_accepted(sock: Sock, redirected: &Redirected) -> bool {
    store(&ACCEPTED, sock, redirected)
}

/// The client of an application's accepted socket.
#[inline(always)]
pub(in crate::bpf) fn served(sock: Sock) -> Option<Endpoint> {
    stored(&SERVED, sock)
}

#[inline(always)]
pub(in crate::bpf) fn set_served(sock: Sock, client: &Endpoint) -> bool {
    store(&SERVED, sock, client)
}

/// The proxy's note on a socket of its own; user space writes it, by file descriptor.
#[inline(always)]
pub(in crate::bpf) fn own(sock: Sock) -> Option<OwnSocket> {
    stored(&OWN, sock)
}

/// Whether a denial of datagrams to `destination` is to be told of, and notes that it is.
#[inline(always)]
pub(in crate::bpf) fn is_new_denial(sock: Sock, destination: &Endpoint) -> bool {
    let before = stored(&TOLD, sock).unwrap_or_default();
    if before.times >= TOLD_DENIALS || (before.times > 0 && before.destination == *destination) {
        return false;
    }
    let told = ToldDenials {
        destination: *destination,
        times: before.times + 1,
    };
    // Without memory it would be told of for each datagram.
    store(&TOLD, sock, &told)
}
