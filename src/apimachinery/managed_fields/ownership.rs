//! What a change does to everybody's ownership.

use super::{
    compare::Comparison,
    conflict::Conflicts,
    managers::{Manager, Managers},
};

impl Managers {
    /// Takes from every manager but `writer` what a change sets or removes.
    ///
    /// # Errors
    /// When the change sets fields of others and is not forced; then nothing is taken.
    pub(super) fn yield_to(&mut self, writer: &Manager, change: &Comparison, force: bool) -> Result<(), Conflicts> {
        let set = change.set();
        let others = || self.0.iter().filter(|(manager, _)| *manager != writer);
        let contested: Vec<_> = others()
            .map(|(manager, owned)| {
                (
                    manager.clone(),
                    owned.api_version.clone(),
                    owned.fields.intersection(&set),
                )
            })
            .filter(|(_, _, fields)| !fields.is_empty())
            .collect();
        if !force && !contested.is_empty() {
            return Err(Conflicts::of(contested));
        }
        for (manager, owned) in &mut self.0 {
            if manager != writer {
                owned.fields = owned.fields.difference(&set).difference(&change.removed);
            }
        }
        self.0.retain(|_, owned| !owned.fields.is_empty());
        Ok(())
    }
}
