//! Watches over the connections of one upstream while any is open.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::sleep};

use super::Pool;
use crate::{data::DataPath, policy::Policy};

/// How often idle connections are looked at for their time. One that is taken is looked at then.
const SWEEP: Duration = Duration::from_secs(5);

/// Closes what a reload refuses and what is idle for too long. Ends with the last connection.
pub(super) async fn keep(pool: Arc<Pool>, name: Arc<str>, data: Arc<DataPath>) {
    // No policy has the number 0: the first one that is looked at is that of now.
    let mut reloads = data.reloads(0);
    loop {
        tokio::select! {
            policy = reloads.next() => judge(&pool, &name, &policy).await,
            () = sleep(SWEEP) => pool.sweep(),
        }
        if pool.rests() {
            return;
        }
    }
}

async fn judge(pool: &Arc<Pool>, name: &str, policy: &Policy) {
    if pool.is_of(policy, name) {
        return;
    }
    pool.retire();
    for link in pool.links() {
        if let Err(refusal) = policy.upstream_again(name, link.server.as_deref(), link.at) {
            link.refuse(refusal);
        }
        // Each takes the time of a verification.
        yield_now().await;
    }
}
