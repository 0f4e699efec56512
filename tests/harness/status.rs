//! What `status --json` says.

use std::path::Path;

use serde_json::Value;

use crate::{
    host::Host,
    process::{Finished, Running},
    sidetrack_bin,
};

/// An answer of `status`, whatever it says.
#[derive(Debug)]
pub struct Status {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub json: Value,
    ended: Finished,
}

impl Status {
    #[track_caller]
    pub(crate) fn ask(host: &Host, instance: &str, runtime_dir: &Path) -> Self {
        let mut asking = host.command_in(host.daemons().path(), sidetrack_bin());
        asking
            .args(["status", "--json", "--instance", instance, "--runtime-dir"])
            .arg(runtime_dir);
        let ended = Running::spawn(asking).finish();
        let json = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|error| panic!("status --json is no JSON, {error}: {ended}"));
        Self {
            code: ended.code(),
            json,
            ended,
        }
    }

    /// Everything is as it was meant.
    #[track_caller]
    pub fn expect_green(&self) {
        let green = self.json["effective"] == true && self.faults().is_empty();
        assert!(green && self.code == 0, "{}", self.ended);
    }

    /// Something is not, which one fault says with all of these words; its fix is there, too.
    #[track_caller]
    pub fn expect_red(&self, words: &[&str]) {
        assert!(
            self.json["effective"] == false && self.code == 1,
            "{}",
            self.ended
        );
        let said = self
            .faults()
            .iter()
            .any(|fault| words.iter().all(|word| fault.contains(word)));
        assert!(said, "no fault says {words:?}: {}", self.ended);
        let faults = self.json["faults"].as_array().into_iter().flatten();
        for fault in faults {
            assert!(
                fault["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
                "{fault}"
            );
        }
    }

    /// What is not as it was meant.
    pub fn faults(&self) -> Vec<String> {
        texts(self.json["faults"].as_array(), |fault| &fault["what"])
    }

    /// What may go wrong.
    pub fn warnings(&self) -> Vec<String> {
        texts(self.json["warnings"].as_array(), |warning| warning)
    }

    /// Names of the programs at a hook of a place, in their order.
    #[track_caller]
    pub fn order(&self, hook: &str, place: &str) -> Vec<String> {
        let hooks = self.json["hooks"].as_array().into_iter().flatten();
        let found = hooks.into_iter().find(|found| {
            let places = found["places"].as_array().into_iter().flatten();
            found["hook"] == hook && places.into_iter().any(|one| one == place)
        });
        let found = found.unwrap_or_else(|| panic!("nothing of {hook} at {place}: {}", self.ended));
        texts(found["programs"].as_array(), |program| &program["name"])
    }
}

fn texts(values: Option<&Vec<Value>>, text: impl Fn(&Value) -> &Value) -> Vec<String> {
    values
        .into_iter()
        .flatten()
        .map(|value| text(value).as_str().unwrap_or_default().to_owned())
        .collect()
}
