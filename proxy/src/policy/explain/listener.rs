//! What becomes of who comes to a listener, and of a request there.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{Lost, listed};
use crate::{
    config::{Config, Listener, Servers, Serves, TlsMode},
    http::route::plain_host,
    policy::passthrough::Passthrough,
};

mod request;

pub use request::{Asked, AskedError};

/// What a listener does with who comes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Served {
    /// Its name.
    pub listener: String,
    /// Where it listens.
    pub at: Vec<SocketAddr>,
    /// `mode` in the configuration.
    pub mode: String,
    /// `tls.mode` there; `off` in plain text, `passed` where it is the upstream's.
    pub tls: String,
    /// What it means, in sentences.
    pub meaning: Vec<String>,
    /// The upstreams that what comes, or the request that was asked about, may go to.
    pub upstreams: Vec<String>,
    /// What becomes of a request, if one was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Routed>,
}

/// What becomes of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Routed {
    /// The route; absent if none fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The upstream that it goes to, if it goes to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The status of the answer, if the listener answers by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What it means, in sentences.
    pub meaning: Vec<String>,
    /// Every other route, in the order of the file.
    pub lost: Vec<Lost>,
}

/// Why nothing is explained.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// There is no such listener.
    #[error("there is no listener {name:?}{}", among(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// All that there are.
        known: Vec<String>,
    },
    /// It is no request.
    #[error(transparent)]
    Asked(#[from] AskedError),
    /// A listener that looks at no requests.
    #[error("the listener {0:?} looks at no requests: its mode is \"tcp\"")]
    NoRequests(String),
}

fn among(names: &[String]) -> String {
    match names {
        [] => ": the configuration has none".to_owned(),
        names => format!("; there are {}", names.join(", ")),
    }
}

/// Explains who comes `from` there to the listener `name`, and what becomes of a request.
///
/// # Errors
/// [`NotServed`]
pub fn served(
    config: &Config,
    name: &str,
    from: Option<IpAddr>,
    asked: Option<&Asked>,
) -> Result<Served, NotServed> {
    let mut listeners = config.listeners.iter();
    let Some(listener) = listeners.find(|listener| listener.name == name) else {
        let all = config.listeners.iter();
        return Err(NotServed::Unknown {
            name: name.to_owned(),
            known: all.map(|listener| listener.name.clone()).collect(),
        });
    };
    let mut meaning = met(listener, from);
    let request = match (&listener.serves, asked) {
        (Serves::Http(http), Some(asked)) => {
            let tls = listener.tls.is_some();
            Some(request::routed(config, http, tls, asked)?)
        }
        (Serves::TlsPassthrough(servers), asked) => {
            let host = asked.map(|asked| asked.host.as_deref());
            meaning.extend(passed(config, servers, host));
            None
        }
        (Serves::Tcp { .. }, Some(_)) => return Err(NotServed::NoRequests(name.to_owned())),
        (Serves::Http(http), None) => {
            let routes = http.routes.iter().map(|route| route.name.as_str());
            let routes: Vec<_> = routes.collect();
            meaning.push(format!(
                "each request takes the first route that fits, of {}",
                routes.join(", ")
            ));
            None
        }
        (Serves::Tcp { upstream }, None) => {
            let behind = behind(config, upstream);
            meaning.push(format!("its bytes go to {behind}, as they are"));
            None
        }
    };
    let upstreams = match &request {
        Some(request) => request.upstream.iter().cloned().collect(),
        None => {
            let named: BTreeSet<&str> = listener.serves.upstreams().collect();
            named.into_iter().map(str::to_owned).collect()
        }
    };
    Ok(Served {
        upstreams,
        listener: listener.name.clone(),
        at: listener.bind.clone(),
        mode: listener.serves.mode().to_owned(),
        tls: listener.tls_mode().to_owned(),
        meaning,
        request,
    })
}

/// How clients are met, and who may be one.
fn met(listener: &Listener, from: Option<IpAddr>) -> Vec<String> {
    let mut meaning = Vec::new();
    let nets = &listener.proxy_from;
    match from.map(|from| from.to_canonical()) {
        Some(from) if nets.iter().any(|net| net.contains(&from)) => meaning.push(format!(
            "{from} begins with a PROXY header, which says who the client is"
        )),
        Some(_) => {}
        None if nets.is_empty() => {}
        None => meaning.push(format!(
            "from {} clients begin with a PROXY header, which says who they are",
            listed(nets)
        )),
    }
    let Some(tls) = &listener.tls else {
        if matches!(listener.serves, Serves::TlsPassthrough(_)) {
            let whose = "clients speak TLS with the upstream, whose certificate they see; whoever \
                         reaches it may connect";
            meaning.push(whose.to_owned());
            return meaning;
        }
        meaning.push("clients speak plain text, and whoever reaches it may connect".to_owned());
        return meaning;
    };
    let folder = tls.certificates.as_ref();
    let shown = tls.identities.iter().cloned();
    let shown: Vec<String> = shown
        .chain(folder.map(|folder| format!("those in {}", folder.display())))
        .collect();
    meaning.push(format!(
        "clients speak TLS, and are shown the certificate with the server name that they ask for, of {}",
        shown.join(", ")
    ));
    let allow = listed(&tls.allow);
    meaning.push(match tls.mode {
        TlsMode::Simple => {
            "no client is asked for a certificate: whoever reaches it may connect".into()
        }
        TlsMode::Optional => {
            format!("a client may show a certificate, and who does must be one of {allow}")
        }
        TlsMode::Mutual => format!("a client must show a certificate, and be one of {allow}"),
    });
    meaning
}

/// Where the TLS of clients goes; of one that asks for the server name `asked`, or for none, if that is
/// what was asked about.
fn passed(config: &Config, servers: &Servers, asked: Option<Option<&str>>) -> Vec<String> {
    let Some(asked) = asked else {
        let each = servers.named.iter();
        let each = each.map(|(name, upstream)| (format!("for {name}"), upstream));
        let other = servers.other.iter();
        let other = other.map(|upstream| ("for any other name, or none,".to_owned(), upstream));
        let lines = each.chain(other);
        return lines
            .map(|(who, upstream)| format!("{who} it goes to {}", placed(config, upstream)))
            .collect();
    };
    let Ok(named) = Passthrough::build(servers, |name| Ok::<_, Infallible>(name.clone()));
    let host = asked.map(plain_host);
    let who = match &host {
        Some(host) => format!("a client that asks for {host}"),
        None => "a client that asks for no name".to_owned(),
    };
    vec![match named.find(host.as_deref()) {
        Some(upstream) => format!("the TLS of {who} goes to {}", placed(config, upstream)),
        None => format!("{who} is refused: no upstream is for it"),
    }]
}

/// An upstream in words, with how it is spoken to.
fn behind(config: &Config, name: &str) -> String {
    let tls = config
        .upstreams
        .get(name)
        .and_then(|upstream| upstream.tls.as_ref());
    let spoken = match tls {
        None => "in plain text".to_owned(),
        Some(tls) => format!("in TLS, where {} is expected", listed(&tls.expect)),
    };
    format!("{}, {spoken}", placed(config, name))
}

/// An upstream and where it is.
fn placed(config: &Config, name: &str) -> String {
    let upstream = config.upstreams.get(name);
    let addresses = upstream.map_or_else(String::new, |upstream| listed(&upstream.addresses));
    format!("the upstream {name} at {addresses}")
}

#[cfg(test)]
mod tests;
