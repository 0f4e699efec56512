//! What goes past the redirect.

use serde_json::Value;

use super::text;
use crate::cli::at;

pub(super) fn report(status: &Value) -> String {
    let mut out = String::from("\nnot covered:\n");
    match at(status, "/uncovered").as_u64() {
        Some(0) => {}
        Some(count) => {
            out += &format!(
                "  {count} connections past a rule: `sidetrack sockets` lists them, `sidetrack close \
                 --uncovered` ends them\n"
            );
        }
        None => out += "  connections past the rules: not known, the daemon's log says why\n",
    }
    for kind in list(status, "/not_covered") {
        let sockets = at(kind, "/sockets").as_u64().unwrap_or_default();
        let holders: Vec<String> = list(kind, "/holders")
            .map(|holder| {
                let (pid, command) = (at(holder, "/pid"), text(at(holder, "/command")));
                format!("{command} ({pid})")
            })
            .collect();
        let whose = match holders.is_empty() {
            true => String::new(),
            false => format!(", of {}", holders.join(", ")),
        };
        out += &format!("  {sockets} sockets: {}{whose}\n", text(at(kind, "/text")));
    }
    for what in list(status, "/not_seen") {
        out += &format!("  {}\n", text(what));
    }
    out
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(value, pointer).as_array().into_iter().flatten()
}
