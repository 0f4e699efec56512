//! No bytes make the reader of PROXY headers panic, and whom a header names is named by what we write
//! of the same client too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidetrack::{
    config::ProxyHeader,
    proxy_header::{Announced, of, source_of},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(client)) = source_of(bytes) else {
        return;
    };
    let announced = Announced {
        client,
        destination: client,
        tls: None,
    };
    for kind in [ProxyHeader::V1, ProxyHeader::V2] {
        let header = of(&announced, kind).unwrap();
        assert_eq!(source_of(&header), Ok(Some(client)));
    }
});
