//! Inner maps that take their places at the same time.

use std::{io, panic::resume_unwind, thread};

use aya::maps::MapError;

/// Puts one inner map into its place.
pub(super) type Put<'a> = &'a mut (dyn FnMut() -> Result<(), MapError> + Send);

/// Does all of `puts`. Each of them waits until no program can see the map that it replaces
/// (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c): one after another a reload would wait for each.
pub(super) fn together<const COUNT: usize>(puts: [Put<'_>; COUNT]) -> Result<(), MapError> {
    thread::scope(|scope| {
        let begun = puts.map(|put| thread::Builder::new().spawn_scoped(scope, put));
        let ended = begun.map(|thread| -> io::Result<_> {
            Ok(thread?.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        ended.into_iter().try_for_each(|end| end?)
    })
}
