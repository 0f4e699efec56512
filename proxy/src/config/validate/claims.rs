//! `may_claim` of `[[inbound]]` and `[[egress]]`.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{join, values};
use crate::{
    config::errors::Problems,
    identity::{Expected, SpiffeId},
};

/// Whom each identity may speak for. `welcome` is the key of the rule that says who may come at all,
/// with what it says.
pub(super) fn granted(
    problems: &mut Problems,
    rule: &str,
    written: Option<&BTreeMap<String, Vec<String>>>,
    (list, welcome): (&str, &[Expected]),
) -> BTreeMap<SpiffeId, Vec<IpNet>> {
    let key = format!("{rule}.may_claim");
    let mut granted = BTreeMap::new();
    for (text, prefixes) in written.into_iter().flatten() {
        let key = join(&key, text);
        let id = match text.parse::<SpiffeId>() {
            Ok(id) => id,
            Err(error) => {
                problems.missing(&key, error.to_string(), "write the peer's SPIFFE ID");
                continue;
            }
        };
        values::trusted(problems, &key, text, id.trust_domain());
        let spiffe = Expected::Spiffe(id.clone());
        if !welcome.contains(&spiffe) && !welcome.contains(&Expected::Any) {
            problems.warn(
                &key,
                &format!("this identity is not in {list}, so it can claim nothing"),
            );
        }
        let prefixes = values::prefixes(problems, &key, prefixes);
        for net in &prefixes {
            if let Some(what) = values::never_remote(net) {
                problems.bad(
                    &key,
                    net.to_string(),
                    format!("this holds {what}, which no remote client has as its address"),
                    "grant only the networks whose clients this peer forwards",
                );
            }
        }
        granted.insert(id, prefixes);
    }
    granted
}
