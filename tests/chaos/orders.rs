//! What people tell the daemon by its socket: an order that was agreed to holds, whatever comes next.

use serde_json::json;

use crate::{
    client,
    field::{Declared, Order},
    harness,
};

use super::Storm;

impl Storm<'_> {
    /// Stops a session of which the daemon knows what its file says: a change that is read afterwards lifts the stop.
    pub fn stop(&mut self, name: &str) {
        let runtime = self.chaos.atm.runtime();
        let declared = &self.chaos.declared[name];
        let is_known = client::list(&runtime).is_some_and(|all| {
            let one = all.iter().find(|one| one["name"] == *name);
            one.is_some_and(|one| one["spec"]["priority"] == declared.priority)
        });
        if !is_known {
            return;
        }
        self.act("stop", name);
        let agreed = client::ask(&runtime, "stop", &json!({"name": name})).is_some();
        self.told(name, if agreed { Order::Stop } else { Order::Unheard });
    }

    /// Has a session that was stopped, or may have been, run again.
    pub fn start(&mut self, name: &str) {
        self.act("start", name);
        let agreed = client::ask(&self.chaos.atm.runtime(), "start", &json!({"name": name})).is_some();
        self.told(name, if agreed { Order::Nothing } else { Order::Unheard });
    }

    /// Says once more what was not answered. `true`: it was heard now.
    pub fn insist(&mut self) -> bool {
        let unheard =
            |(name, declared): (&String, &Declared)| (declared.order == Order::Unheard).then(|| name.clone());
        let names: Vec<String> = self.chaos.declared.iter().filter_map(unheard).collect();
        let mut heard = false;
        for name in names {
            let params = json!({"name": name});
            if client::ask(&self.chaos.atm.runtime(), "start", &params).is_some() {
                self.chaos.note(format!("{name} is to run, as was heard"));
                self.told(&name, Order::Nothing);
                heard = true;
            }
        }
        heard
    }

    fn told(&mut self, name: &str, order: Order) {
        let declared = self.chaos.declared.get_mut(name).unwrap();
        declared.order = order;
        declared.shaken = true;
        self.chaos.disturbed.insert(declared.token.clone());
        self.chaos.changed.insert(name.to_owned(), harness::now());
    }
}
