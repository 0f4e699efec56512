//! No payload of an OPEN makes its reader panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidetrack::tunnel::Open;

fuzz_target!(|payload: &[u8]| {
    let _ = Open::decode(payload);
});
