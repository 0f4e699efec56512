//! Goes round the paths of each case in turn, so that a machine that drifts does so for all of them.

use std::collections::HashMap;

use hdrhistogram::Histogram;

use crate::{
    Trouble,
    load::Load,
    measured::Measured,
    path::{Kind, Spec},
    plan::{Plan, Planned},
    report::{Answer, Column, Ended},
    statistics,
};

#[cfg(test)]
pub(crate) mod made_up;
pub mod progress;
pub mod slice;

pub use progress::{Doing, Progress};
pub use slice::Slice;

use progress::Clock;

/// A path that stands and can be loaded.
pub trait Subject {
    /// One slice.
    ///
    /// # Errors
    /// Something on the path does not do what it should.
    fn run(&mut self, load: &Load) -> Result<Measured, Trouble>;
}

/// Where paths are set up.
pub trait Ground {
    /// What stands on it.
    type Subject: Subject;

    /// Sets `spec` up.
    ///
    /// # Errors
    /// Something that it needs is missing, or does not start.
    fn set_up(&mut self, spec: &Spec) -> Result<Self::Subject, Trouble>;
}

/// Measures all that `plan` says. What fails ends its own column, with its reason.
pub fn measure<G: Ground>(
    plan: &Plan,
    ground: &mut G,
    tell: &mut dyn FnMut(Progress),
) -> Vec<Answer> {
    let mut runner = Runner {
        ground,
        tell,
        clock: Clock::new(plan),
        standing: Vec::new(),
        never: HashMap::new(),
        lacking: HashMap::new(),
    };
    plan.cases
        .iter()
        .map(|planned| runner.answer(planned))
        .collect()
}

struct Runner<'a, G: Ground> {
    ground: &'a mut G,
    tell: &'a mut dyn FnMut(Progress),
    clock: Clock,
    /// What the case before left standing.
    standing: Vec<(Spec, G::Subject)>,
    /// Paths that could not be set up. Each try may take as long as somebody waits for a process.
    never: HashMap<Spec, Ended>,
    /// Kinds for which this host lacks something.
    lacking: HashMap<Kind, Ended>,
}

/// A path on its way through a case.
struct Lane<S> {
    subject: Option<S>,
    column: Column,
    /// Operations of all its rounds.
    pooled: Histogram<u64>,
    /// Memory without any connection.
    without: u64,
}

impl<G: Ground> Runner<'_, G> {
    fn answer(&mut self, planned: &Planned) -> Answer {
        let case = &planned.case;
        self.clock.begin();
        let fresh = planned.wants_fresh_paths();
        // What this case does not need goes before anything new comes: idle daemons are noise.
        self.standing
            .retain(|(spec, _)| !fresh && case.paths.contains(spec));
        let mut lanes: Vec<_> = case
            .paths
            .iter()
            .map(|spec| self.lane(planned, spec))
            .collect();

        for round in 0..planned.warm_up + planned.rounds {
            let counts = round.checked_sub(planned.warm_up);
            let doing = |path: String| match counts {
                Some(round) => Doing::Measures {
                    path,
                    round: round + 1,
                    rounds: planned.rounds,
                },
                None => Doing::WarmsUp { path },
            };
            let backwards = round % 2 == 1;
            let turn: Vec<&mut Lane<_>> = match backwards {
                false => lanes.iter_mut().collect(),
                true => lanes.iter_mut().rev().collect(),
            };
            for lane in turn {
                if lane.subject.is_some() {
                    self.say(planned, doing(lane.column.path.label()));
                    self.slice(planned, lane, counts.is_some());
                }
                self.clock.slice_done(&case.load);
            }
        }

        let mut columns = Vec::new();
        for mut lane in lanes {
            lane.column.keep(&lane.pooled);
            if let Some(subject) = lane.subject.take().filter(|_| !fresh) {
                self.standing.push((lane.column.path.clone(), subject));
            }
            columns.push(lane.column);
        }
        Answer {
            name: case.name.clone(),
            about: case.about.clone(),
            load: case.load.clone(),
            merits: case.merits.clone(),
            columns,
        }
    }

    fn lane(&mut self, planned: &Planned, spec: &Spec) -> Lane<G::Subject> {
        let mut lane = Lane {
            subject: None,
            column: Column::new(spec.clone()),
            pooled: statistics::histogram(),
            without: 0,
        };
        match self.stand(planned, spec) {
            Ok(subject) => lane.subject = Some(subject),
            Err(ended) => self.end(planned, &mut lane, ended),
        }
        if planned.wants_fresh_paths()
            && let Some(subject) = &mut lane.subject
        {
            match subject.run(&Load::Idle { connections: 0 }) {
                Ok(measured) => lane.without = measured.proxies.memory,
                Err(trouble) => self.end(planned, &mut lane, Ended::by(&trouble)),
            }
        }
        lane
    }

    fn stand(&mut self, planned: &Planned, spec: &Spec) -> Result<G::Subject, Ended> {
        if let Some(at) = self
            .standing
            .iter()
            .position(|(standing, _)| standing == spec)
        {
            return Ok(self.standing.swap_remove(at).1);
        }
        if let Some(ended) = self
            .lacking
            .get(&spec.kind)
            .or_else(|| self.never.get(spec))
        {
            return Err(ended.clone());
        }
        self.say(planned, Doing::SetsUp { path: spec.label() });
        let stood = self.ground.set_up(spec);
        self.clock.set_up_done();
        stood.map_err(|trouble| {
            let ended = Ended::by(&trouble);
            match trouble.is_missing() {
                true => self.lacking.insert(spec.kind, ended.clone()),
                false => self.never.insert(spec.clone(), ended.clone()),
            };
            ended
        })
    }

    fn slice(&mut self, planned: &Planned, lane: &mut Lane<G::Subject>, counts: bool) {
        let Some(subject) = &mut lane.subject else {
            return;
        };
        let slice = subject
            .run(&planned.case.load)
            .and_then(|measured| Slice::of(&measured, lane.without).map(|slice| (slice, measured)));
        match slice {
            Ok((slice, measured)) if counts => {
                lane.column.rounds.push(slice);
                // It grows as it needs to: nothing is out of range.
                let _ = lane.pooled.add(&measured.sample.latencies);
            }
            Ok(_) => {}
            Err(trouble) => self.end(planned, lane, Ended::by(&trouble)),
        }
    }

    fn end(&mut self, planned: &Planned, lane: &mut Lane<G::Subject>, ended: Ended) {
        lane.subject = None;
        let doing = Doing::LeavesOut {
            path: lane.column.path.label(),
            why: ended.why.clone(),
        };
        lane.column.ended = Some(ended);
        self.say(planned, doing);
    }

    fn say(&mut self, planned: &Planned, doing: Doing) {
        (self.tell)(self.clock.progress(&planned.case.name, doing));
    }
}

#[cfg(test)]
mod tests;
