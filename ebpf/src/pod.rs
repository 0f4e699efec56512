//! Which types may be copied to and from maps as bytes.
#![expect(
    unsafe_code,
    reason = "aya's Pod is an unsafe marker; this is the one place that makes it"
)]

use aya::Pod;

use crate::{
    addr::{Address, Endpoint},
    event::Refused,
    executable::{ExecutableKey, ExecutableLayout, ExecutableStep},
    flow::{FlowKey, ListenerKey, OwnSocket, Redirected},
    inbound::{InboundPort, ListeningKey, LocalKey},
    namespace::{NamespaceFacts, SourceKey},
    rules::{CgroupClass, DestinationKey, Rule, RuleKey, StageKey},
    settings::Settings,
};

macro_rules! pod {
    ($($name:ty = $sum:expr;)*) => {
        $(
            // The sum of the fields' sizes: any difference would be padding.
            const _: () = assert!(size_of::<$name>() == $sum);
            // SAFETY: repr(C), made of integers only, every bit pattern is valid, and the
            // assertion above shows that there is no padding.
            unsafe impl Pod for $name {}
        )*
    };
}

pod! {
    Address = 4 * 4;
    Endpoint = 16 + 2 + 2;
    ExecutableKey = 4 + 124;
    ExecutableLayout = 16 * 4;
    ExecutableStep = 4 + 4;
    FlowKey = 8 + 20 + 20;
    ListenerKey = 8 + 4 + 4;
    OwnSocket = 4 + 20;
    Redirected = 20 + 9 * 4 + 8 + 4 + 4;
    InboundPort = 4 + 4;
    ListeningKey = 8 + 20 + 4;
    LocalKey = 8 + 16;
    CgroupClass = 4 + 4;
    DestinationKey = 16;
    Rule = 4 + 1 + 1 + 2;
    RuleKey = 4 + 4 + 2 + 2;
    StageKey = 4 + 4 + 8;
    Settings = 8 + 8 + 8 + 4 * 4;
    Refused = 4 + 4 + 8 + 72;
    NamespaceFacts = 4 + 4;
    SourceKey = 2 * 4 + 16;
}
