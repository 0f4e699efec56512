//! Connections that applications of this host make.
//!
//! ```text
//! Accepted --resolve--> Resolved --permit--> Permitted --carry--> (ended)
//! ```
//!
//! Each phase consumes the one before, so that no byte can move before policy has permitted it.
//! What is known goes into the record, which writes itself when the connection has ended.

use std::{
    future::poll_fn, io, net::SocketAddr, ops::ControlFlow, sync::Arc, task::Poll, time::Instant,
};

use sidetrack_abi::{
    Redirected,
    event::{EVENT_DATAGRAM_DENIED, EVENT_NAMESPACE_PASSED, EVENT_OTHER_NAMESPACE, Refused},
    executable::NO_EXECUTABLE,
    rules::{RULE_CANARY, RULE_UNCLASSIFIED},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    addr::OriginalDst,
    canary,
    config::Protocol,
    data::DataPath,
    kernel::{
        executable::{self, Made},
        flows::NoOriginal,
    },
    live::Place,
    netns::Namespace,
    policy::{OutboundPermit, Policy, again::Carried},
    record::{Direction, Record},
    refusal::{Reason, Refusal},
    relay::Moved,
    socket::{self, Guarded, Turn},
};

mod carry;
pub mod upstream;

/// Accepts connections of applications in `namespace` until `stop` says so.
pub async fn accept(
    data: Arc<DataPath>,
    namespace: Namespace,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
    turn: Turn,
) {
    socket::accept_each(listener, stop, turn, |stream, peer| {
        let mut record = Record::begin(&data.sink, Direction::Outbound, peer);
        record.netns = namespace.other();
        // All of it before the task runs, so that a drain that begins meanwhile counts it.
        let admitted = Admitted {
            namespace: namespace.clone(),
            app: Guarded::new(stream),
            peer,
            record,
            place: data.live.enter(),
        };
        tokio::spawn(serve(Arc::clone(&data), admitted));
    })
    .await;
}

/// A connection that was accepted, with its record and its place among the live ones.
struct Admitted {
    namespace: Namespace,
    app: Guarded,
    peer: SocketAddr,
    record: Record,
    place: Result<Place, Refusal>,
}

/// One connection, from accept to its record.
async fn serve(data: Arc<DataPath>, admitted: Admitted) {
    let Admitted {
        namespace,
        app,
        peer,
        mut record,
        place,
    } = admitted;
    let mut moved = Moved::default();
    let accepted = Accepted {
        data: &data,
        namespace: &namespace,
        app,
        peer,
    };
    // Where there is no place, the record still says who wanted to go where.
    let resolved = accepted.resolve(&mut record);
    let resolved = match resolved.map(Resolved::or_canary) {
        Ok(ControlFlow::Break(())) => {
            record.is_no_connection();
            return record.end(moved, Ok(()));
        }
        Ok(ControlFlow::Continue(resolved)) => Ok(resolved),
        Err(refusal) => Err(refusal),
    };
    let end = match (resolved, &place) {
        (Err(refusal), _) => Err(refusal),
        (Ok(_), Err(refusal)) => Err(refusal.clone()),
        (Ok(resolved), Ok(place)) => {
            let mut deadline = place.deadline();
            let (netns, accepted) = (namespace.cookie(), record.started());
            let refused = refused_by_reload(&data, resolved.redirected, (netns, accepted), place);
            // The deadline comes first: what it cuts off is its doing, whatever else happens.
            tokio::select! {
                biased;
                refusal = deadline.passed() => Err(refusal),
                refusal = namespace.cut_off() => Err(refusal),
                end = resolved.run(place, &mut record, &mut moved) => end,
                refusal = refused => Err(refusal),
            }
        }
    };
    // The record first: a drain that sees no connection any more has all records.
    record.end(moved, end);
    drop(place);
}

/// Resolves once a reload refuses the connection. To be polled after the connection itself, in the
/// same task: it waits for that to say how it is carried without being told.
fn refused_by_reload<'a>(
    data: &'a DataPath,
    redirected: Redirected,
    (netns, accepted): (u64, Instant),
    place: &'a Place,
) -> impl Future<Output = Refusal> + Send + 'a {
    // By no younger policy than this one is it permitted.
    let mut reloads = data.reloads(data.policy.load().generation);
    async move {
        loop {
            reloads.next().await;
            poll_fn(|_| match place.carried() {
                Carried::Undecided => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
            let found = Box::pin(policy_and_task(data, &redirected, netns, accepted)).await;
            let carried = place.carried();
            let judged = match found {
                // It may make classes, and read files for the names of containers.
                Ok((policy, cgroup, redirected)) => tokio::task::spawn_blocking(move || {
                    policy.outbound_again(&redirected, (&cgroup, netns), &carried)
                })
                .await
                .unwrap_or_else(|error| Err(Refusal::new(Reason::Internal, error.to_string()))),
                Err(refusal) => Err(Refusal::new(Reason::PolicyChanged, refusal.detail)),
            };
            if let Err(refusal) = judged {
                return refusal;
            }
        }
    }
}

/// The kernel handed the connection over; where it wanted to go is not known yet.
struct Accepted<'a> {
    data: &'a DataPath,
    namespace: &'a Namespace,
    app: Guarded,
    peer: SocketAddr,
}

/// The original destination is known.
struct Resolved<'a> {
    data: &'a DataPath,
    namespace: &'a Namespace,
    app: Guarded,
    peer: SocketAddr,
    redirected: Redirected,
}

/// Policy lets it go on.
struct Permitted<'a> {
    data: &'a DataPath,
    namespace: &'a Namespace,
    app: Guarded,
    peer: SocketAddr,
    permit: OutboundPermit,
}

impl<'a> Accepted<'a> {
    /// There is no default destination: without an original one the connection is closed.
    fn resolve(self, record: &mut Record) -> Result<Resolved<'a>, Refusal> {
        let redirected = match self.data.flows.original(self.app.stream()) {
            Ok(redirected) => redirected,
            Err(error @ NoOriginal::NotRedirected) => {
                return Err(Refusal::new(
                    Reason::NoOriginalDestination,
                    error.to_string(),
                ));
            }
            Err(error) => return Err(Refusal::new(Reason::Internal, error.to_string())),
        };
        record.destination = Some(OriginalDst::new(redirected.destination.into()));
        record.pid = Some(redirected.pid);
        record.uid = Some(redirected.uid);
        Ok(Resolved {
            data: self.data,
            namespace: self.namespace,
            app: self.app,
            peer: self.peer,
            redirected,
        })
    }
}

impl<'a> Resolved<'a> {
    /// Our own canary is answered, and nobody's connection.
    fn or_canary(mut self) -> ControlFlow<(), Self> {
        let Redirected { rule, cgroup, .. } = self.redirected;
        if rule != RULE_CANARY {
            return ControlFlow::Continue(self);
        }
        let Some(answer) = self.data.canary.answer(cgroup) else {
            return ControlFlow::Continue(self);
        };
        if canary::answer(self.app.stream(), answer).is_ok() {
            // Closed and not reset: the answer is to be read.
            self.app.begin_relay();
        }
        ControlFlow::Break(())
    }

    async fn run(
        self,
        place: &Place,
        record: &mut Record,
        moved: &mut Moved,
    ) -> Result<(), Refusal> {
        let permitted = self.permit(record).await?;
        place.describe(record);
        permitted.carry(place, record, moved).await
    }

    async fn permit(self, record: &mut Record) -> Result<Permitted<'a>, Refusal> {
        if self.redirected.rule == RULE_CANARY {
            return Err(Refusal::new(
                Reason::PortZero,
                "nobody listens at port 0, and this is not the daemon's canary",
            ));
        }
        let policy = self.data.policy.load();
        let permit = if policy.has_decided(&self.redirected) {
            let permit = policy.outbound(&self.redirected)?;
            record.rule.clone_from(&permit.rule);
            permit
        } else {
            drop(policy);
            let netns = self.namespace.cookie();
            // Seldom, so that what it takes is no part of each connection.
            let task = policy_and_task(self.data, &self.redirected, netns, record.started());
            let (policy, cgroup, redirected) = Box::pin(task).await?;
            // It may make classes, and read files for the names of containers.
            let judge = move || policy.unclassified(&redirected, &cgroup, netns);
            let judged = tokio::task::spawn_blocking(judge)
                .await
                .map_err(|error| Refusal::new(Reason::Internal, error.to_string()))?;
            record.rule = judged.rule;
            judged.outcome?
        };
        Ok(Permitted {
            data: self.data,
            namespace: self.namespace,
            app: self.app,
            peer: self.peer,
            permit,
        })
    }
}

/// The policy of now, and what it has to know of the application: its cgroup's path, if rules tell
/// cgroups apart, and its executable. Without them nobody can tell which rule is for it.
async fn policy_and_task(
    data: &DataPath,
    redirected: &Redirected,
    netns: u64,
    accepted: Instant,
) -> Result<(Arc<Policy>, String, Redirected), Refusal> {
    let policy = data.policy.load_full();
    let mut redirected = *redirected;
    let Redirected { cgroup, pid, .. } = redirected;
    let path = match policy.tables.asks_for_cgroups() {
        false => String::new(),
        true => data.cgroups.path(cgroup, pid).await.map_err(|error| {
            Refusal::new(
                Reason::CgroupGone,
                format!("looking for the cgroup {cgroup} of process {pid}: {error}"),
            )
        })?,
    };
    if !policy.may_miss_executable(&redirected) {
        return Ok((policy, path, redirected));
    }
    let cgroups = data.cgroups.clone();
    let made = Made {
        pid,
        cgroup,
        accepted,
    };
    let look = move || {
        if policy.depends_on_executable(&redirected, &path, netns) {
            let path = executable::of_maker(&made, &cgroups)?;
            redirected.executable =
                path.map_or(NO_EXECUTABLE, |path| policy.tables.executable(&path));
        }
        Ok((policy, path, redirected))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(io::Error::other).flatten().map_err(|error| {
        Refusal::new(
            Reason::ExecutableGone,
            format!("looking for the executable of process {pid}: {error}"),
        )
    })
}

/// The record of a connection that the kernel refused; of one that it let go direct only the
/// namespace is of interest.
pub fn told_by_kernel(data: &DataPath, refused: &Refused) {
    let connection = &refused.connection;
    // Only what rules do not say alike of all namespaces needs a look at this one.
    let is_unknown = || {
        let policy = data.policy.load();
        connection.rule == RULE_UNCLASSIFIED && !policy.tables.knows_namespace(refused.netns)
    };
    if matches!(refused.kind, EVENT_NAMESPACE_PASSED | EVENT_OTHER_NAMESPACE) || is_unknown() {
        data.asked.ask(refused);
    }
    if refused.kind == EVENT_NAMESPACE_PASSED {
        return;
    }
    if connection.rule == RULE_CANARY && data.canary.was_in(connection.cgroup) {
        return;
    }
    let destination = OriginalDst::new(connection.destination.into());
    // The hook runs before a source is chosen; the family is what is known of it.
    let source = match destination.get() {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let mut record = Record::begin(&data.sink, Direction::Outbound, source);
    record.netns = (refused.netns != data.namespace.cookie()).then_some(refused.netns);
    record.destination = Some(destination);
    record.pid = Some(connection.pid);
    record.uid = Some(connection.uid);
    record.rule = data.policy.load().rule_name(connection);
    if refused.kind == EVENT_DATAGRAM_DENIED {
        record.protocol = Protocol::Udp;
    }
    record.refuse(crate::kernel::events::refusal(refused));
}
