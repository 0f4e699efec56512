//! `sidetrack explain --listener`

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Exit, ExplainArgs, Failure, print, print_json, report, understood};
use crate::{
    config::Config,
    control::Question,
    policy::explain::{Asked, Served, served},
};

/// Who comes to a listener.
#[derive(Args, Clone, Debug)]
pub struct ListenerArgs {
    /// Instead: who comes to this listener.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "inbound"])]
    pub listener: Option<String>,
    /// With --listener: of a request for this host.
    #[arg(long, value_name = "HOST", requires = "listener")]
    pub host: Option<String>,
    /// With --listener: of a request for this path, with its query. Without, for / if a request is
    /// asked about.
    #[arg(long, value_name = "PATH", requires = "listener")]
    pub path: Option<String>,
    /// With --listener: of a request of this method. Without, of GET if a request is asked about.
    #[arg(long, value_name = "METHOD", requires = "listener")]
    pub method: Option<String>,
    /// With --listener: of a request with this header. May be said several times.
    #[arg(long, value_name = "NAME: VALUE", requires = "listener")]
    pub header: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    explained: Served,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<String>,
}

impl ListenerArgs {
    fn asked(&self) -> Option<Asked> {
        let Self {
            listener: _,
            host,
            path,
            method,
            header,
        } = self;
        let any = host.is_some() || path.is_some() || method.is_some() || !header.is_empty();
        any.then(|| Asked {
            host: host.clone(),
            path: path.clone().unwrap_or_else(|| "/".into()),
            method: method.clone().unwrap_or_else(|| "GET".into()),
            headers: header.clone(),
        })
    }
}

pub(super) fn run(args: &ExplainArgs, name: &str) -> Result<Exit, Failure> {
    let (from, asked) = (args.from, args.at.asked());
    let said = match &args.config {
        Some(file) => Said {
            explained: served(&Config::load(file)?, name, from, asked.as_ref())
                .map_err(|error| Failure::new(Exit::Failed, "explaining").because(&error))?,
            now: None,
        },
        None => understood(args.of.ask(Question::ExplainListener {
            name: name.to_owned(),
            from,
            asked,
        })?)?,
    };
    if args.json {
        print_json(&said)?;
    } else {
        print(&report::of_listener(&said.explained, said.now.as_deref()))?;
    }
    Ok(Exit::Done)
}
