//! Finds out which endpoints answer, and which addresses a name has.
//!
//! An endpoint that failed is checked until it answers again, soon at first; one that is up only
//! if the upstream says so (`health.check`), or once if somebody doubts it. While all are up and
//! nobody asked for checks, this costs nothing but a task that sleeps.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::{Endpoint, Upstream, dial::Speaks, probe};
use crate::{
    config::Check,
    data::DataPath,
    refusal::{Reason, Refusal},
};

/// Pause before the first check of an endpoint that has just failed; each one after doubles it,
/// up to the upstream's interval.
const SOON: Duration = Duration::from_millis(100);

/// How often a name's addresses are asked for again, and how soon if that failed.
const RESOLVE: Duration = Duration::from_secs(30);
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// Watches over `upstream` until it is dropped.
pub(super) async fn watch(upstream: Arc<Upstream>, data: Arc<DataPath>) {
    let mut checks = JoinSet::new();
    let mut checked: HashMap<SocketAddr, AbortHandle> = HashMap::new();
    loop {
        let now = upstream.endpoints();
        checked.retain(|at, check| {
            let stays = now.iter().any(|endpoint| endpoint.at.get() == *at);
            if !stays {
                check.abort();
            }
            stays
        });
        for endpoint in now.iter() {
            checked.entry(endpoint.at.get()).or_insert_with(|| {
                let check = check(
                    Arc::clone(&upstream),
                    Arc::clone(&data),
                    Arc::clone(endpoint),
                );
                checks.spawn(check)
            });
        }
        while checks.try_join_next().is_some() {}
        if !upstream.has_names() {
            return std::future::pending().await;
        }
        let resolved = upstream.resolve().await;
        sleep(if resolved { RESOLVE } else { RESOLVE_AGAIN }).await;
    }
}

async fn check(upstream: Arc<Upstream>, data: Arc<DataPath>, endpoint: Arc<Endpoint>) {
    let health = &upstream.spec.health;
    let mut pause = SOON.min(health.interval);
    loop {
        if endpoint.is_up() {
            pause = SOON.min(health.interval);
            let wanted = match health.check {
                None => {
                    endpoint.wants_check().await;
                    true
                }
                Some(_) => timeout(health.interval, endpoint.wants_check())
                    .await
                    .is_ok(),
            };
            // However often clients give reason to doubt: each check is work for the endpoint.
            if wanted && endpoint.is_up() {
                sleep(pause).await;
            }
        }
        if !endpoint.is_up() {
            sleep(pause).await;
            pause = (pause * 2).min(health.interval);
        }
        let probe = Box::pin(probe(&upstream, &data, &endpoint));
        let outcome = timeout(health.timeout, probe).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                Reason::ConnectTimeout,
                format!(
                    "{} did not answer a check within {:?}",
                    endpoint.at, health.timeout
                ),
            ))
        });
        match outcome {
            Ok(()) => endpoint.checked(health),
            Err(refusal) => endpoint.failed(&refusal, health),
        }
    }
}

async fn probe(
    upstream: &Upstream,
    data: &DataPath,
    endpoint: &Arc<Endpoint>,
) -> Result<(), Refusal> {
    let (path, host) = match &upstream.spec.health.check {
        None | Some(Check::Connect) => {
            upstream.dial(data, endpoint, None, Speaks::Bytes).await?;
            return Ok(());
        }
        Some(Check::Http { path, host }) => (path, host),
    };
    let tls = upstream.spec.tls.as_ref();
    let host = host
        .clone()
        .or_else(|| tls.and_then(|tls| tls.server_name.clone()))
        .or_else(|| endpoint.host().map(|host| host.to_string()))
        .unwrap_or_else(|| endpoint.at.to_string());
    let connected = upstream.dial(data, endpoint, None, Speaks::Http).await?;
    probe::get(connected, &host, path, upstream.spec.http).await
}
