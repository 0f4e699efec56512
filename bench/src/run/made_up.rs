//! Paths that are made up, for tests of what is done with figures.

use std::{cell::RefCell, rc::Rc, time::Duration};

use fastrand::Rng;

use super::{Ground, Subject};
use crate::{
    Trouble,
    load::Load,
    measured::{Measured, Sample, Usage},
    path::{Kind, Spec},
    statistics,
};

/// What happened, in order: "up KIND", "KIND" for a slice, "down KIND".
pub(crate) type Journal = Rc<RefCell<Vec<String>>>;

/// A host on which paths are made up.
pub(crate) struct MadeUp {
    pub(crate) random: Rng,
    pub(crate) journal: Journal,
    /// Kinds whose program is missing.
    pub(crate) lacks: Vec<Kind>,
    /// Kinds that break in their slice of this number, from 0.
    pub(crate) breaks: Vec<(Kind, usize)>,
    /// What each kind takes of another build, times this.
    pub(crate) slower: f64,
}

impl MadeUp {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            journal: Journal::default(),
            lacks: Vec::new(),
            breaks: Vec::new(),
            slower: 1.0,
        }
    }
}

impl Ground for MadeUp {
    type Subject = Model;

    fn set_up(&mut self, spec: &Spec) -> Result<Model, Trouble> {
        self.journal.borrow_mut().push(format!("up {}", spec.kind));
        if self.lacks.contains(&spec.kind) {
            return Err(
                Trouble::missing("setting up", "its program is not there").fix("apt install it")
            );
        }
        let breaks = self.breaks.iter().find(|(kind, _)| *kind == spec.kind);
        Ok(Model {
            spec: spec.clone(),
            random: self.random.fork(),
            journal: Rc::clone(&self.journal),
            breaks: breaks.map(|(_, slice)| *slice),
            slices: 0,
            slower: self.slower,
        })
    }
}

/// A path that takes about as long as one of its kind may.
pub(crate) struct Model {
    spec: Spec,
    random: Rng,
    journal: Journal,
    breaks: Option<usize>,
    slices: usize,
    slower: f64,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.journal
            .borrow_mut()
            .push(format!("down {}", self.spec.kind));
    }
}

impl Subject for Model {
    fn run(&mut self, load: &Load) -> Result<Measured, Trouble> {
        self.journal.borrow_mut().push(self.spec.kind.to_string());
        if self.breaks == Some(self.slices) {
            return Err(Trouble::new(
                "running a slice",
                "the proxy <ended> by itself",
            ));
        }
        self.slices += 1;
        let micros = self.micros(load) * (0.98 + 0.04 * self.random.f64());
        let (done, bytes, took) = match load {
            Load::Connect { count } | Load::FirstByte { count } | Load::RoundTrip { count, .. } => {
                (u64::from(*count), 0, micros * f64::from(*count))
            }
            Load::Requests {
                millis,
                connections,
                ..
            }
            | Load::Handshake {
                millis,
                connections,
                ..
            } => {
                let took = f64::from(*millis) * 1e3;
                (
                    (took / micros * f64::from(*connections) / 8.0) as u64 + 1,
                    0,
                    took,
                )
            }
            Load::Rate {
                millis, per_second, ..
            } => {
                let count = u64::from(*per_second) * u64::from(*millis) / 1000;
                (count, 0, f64::from(*millis) * 1e3)
            }
            Load::Bulk { millis, write, .. } => {
                let rate = f64::from(*write).sqrt() * 800.0 / micros;
                (
                    0,
                    (rate * f64::from(*millis) * 1e3) as u64,
                    f64::from(*millis) * 1e3,
                )
            }
            Load::Idle { connections } => (u64::from(*connections), 0, 1e6),
        };
        let mut latencies = statistics::histogram();
        if bytes == 0 && !matches!(load, Load::Idle { .. }) {
            for _ in 0..done.min(400) {
                let slow = if self.random.u32(0..200) == 0 {
                    6.0
                } else {
                    1.0
                };
                let tail = -(1.0 - self.random.f64()).ln();
                latencies
                    .record((micros * 1e3 * (0.8 + 0.2 * tail) * slow) as u64)
                    .expect("it grows");
            }
        }
        let proxied = !matches!(
            self.spec.kind,
            Kind::Direct | Kind::Unselected | Kind::Passed | Kind::IptablesPassed
        );
        let cpu = Duration::from_secs_f64((done as f64 * micros / 2e6) + bytes as f64 / 2e9);
        Ok(Measured {
            sample: Sample {
                latencies,
                done,
                failed: 0,
                reason: None,
                bytes,
                took: Duration::from_secs_f64(took / 1e6),
            },
            proxies: match (proxied, load) {
                (false, _) => Usage::default(),
                (true, Load::Idle { connections }) => Usage {
                    cpu,
                    memory: (20 << 20) + u64::from(*connections) * 20_000,
                },
                (true, _) => Usage {
                    cpu,
                    memory: 20 << 20,
                },
            },
            machine: cpu * 2,
        })
    }
}

impl Model {
    fn micros(&self, load: &Load) -> f64 {
        let (new, open) = match self.spec.kind {
            Kind::Direct => (60.0, 25.0),
            Kind::Unselected => (60.3, 25.0),
            Kind::Passed | Kind::IptablesPassed => (61.0, 25.0),
            Kind::Redirected => (150.0, 55.0),
            Kind::RedirectRelay => (140.0, 56.0),
            Kind::IptablesRelay => (165.0, 58.0),
            Kind::RedirectHaproxy => (170.0, 60.0),
            Kind::IptablesHaproxy => (190.0, 62.0),
            Kind::TproxyHaproxy => (200.0, 64.0),
            Kind::Mtls => (260.0, 90.0),
            Kind::MtlsTls => (700.0, 92.0),
            Kind::MtlsFull => (1_400.0, 92.0),
            Kind::HaproxyPair => (1_300.0, 110.0),
            Kind::HaproxyPairFull => (2_300.0, 110.0),
            Kind::NginxPair => (1_500.0, 118.0),
            Kind::StunnelPair => (2_600.0, 150.0),
        };
        let iptables = matches!(self.spec.kind, Kind::IptablesRelay | Kind::IptablesPassed);
        let rules = if iptables {
            f64::from(self.spec.rules) * 0.02
        } else {
            0.0
        };
        let other_build = if self.spec.build.is_some() { 1.3 } else { 1.0 };
        let ours = if self.spec.kind.runs_sidetrack() {
            self.slower * other_build
        } else {
            1.0
        };
        match load {
            Load::Connect { .. } => (30.0 + new / 10.0 + rules) * ours,
            Load::FirstByte { .. }
            | Load::Handshake { .. }
            | Load::Requests {
                keep_alive: false, ..
            } => (new + rules) * ours,
            _ => open * ours,
        }
    }
}
