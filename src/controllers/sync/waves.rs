//! Rolling a new template out to one cluster or region after the other.
//!
//! A copy that has the old template is left as it is, its number of replicas included, until every copy of the
//! waves before it has the new one and all its replicas are available. The first wave is the canary.

use std::collections::BTreeMap;

use api::preferences::{Preferences, Waves};
use api::well_known::LABEL_REGION;
use apimachinery::Object;
use planner::{Share, availability::Availability, placement::ClusterView};

use super::{
    SyncKey,
    engine::Engine,
    federated::{self, Federated},
    observe::Copy,
    payload,
};

/// The waves, first to last; none unless asked for. Clusters named in `order` come first, others by name.
#[must_use]
pub fn waves(preferences: &Preferences, clusters: &[ClusterView]) -> Vec<Vec<String>> {
    let Some(by) = preferences.waves else {
        return Vec::new();
    };
    let mut groups: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for view in clusters.iter().filter(|view| view.selected) {
        let group = match by {
            Waves::Cluster => view.name(),
            // A cluster without a region is a wave of its own.
            Waves::Region => view
                .cluster
                .values(LABEL_REGION)
                .first()
                .copied()
                .unwrap_or(view.name()),
        };
        groups
            .entry((usize::MAX, group.to_owned()))
            .or_default()
            .push(view.name().to_owned());
    }
    let rank = |names: &[String]| {
        let named = names
            .iter()
            .filter_map(|name| preferences.order.iter().position(|o| o == name));
        named.min().unwrap_or(usize::MAX)
    };
    let mut waves: Vec<Vec<String>> = groups.into_values().collect();
    waves.sort_by_key(|names| rank(names));
    waves
}

/// Whether all replicas of a copy run its newest template.
fn is_healthy(copy: &Copy) -> bool {
    let status: Object = serde_json::from_str(&copy.observed.status).unwrap_or_default();
    let wanted = copy.observed.replicas.unwrap_or(0);
    let enough = |field: &str| status[field].as_i64().unwrap_or(0) >= wanted;
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let failed = conditions.any(|c| c["type"] == "Progressing" && c["status"] == "False");
    copy.settled && !copy.deleting && !failed && enough("updatedReplicas") && enough("availableReplicas")
}

impl Engine {
    /// Whether a copy is to wait with its new template for clusters before it.
    pub(super) fn waits_for_wave(&self, key: &SyncKey, federated: &Federated, cluster: &str, copy: &Copy) -> bool {
        let Some(placement) = self.placement(key).filter(|p| !p.waves.is_empty()) else {
            return false;
        };
        if self.has_template(key, federated, cluster, copy) {
            return false;
        }
        let before = placement
            .waves
            .iter()
            .take_while(|wave| !wave.iter().any(|name| name == cluster));
        before.flatten().any(|name| !self.is_rolled_out(key, federated, name))
    }

    fn is_rolled_out(&self, key: &SyncKey, federated: &Federated, cluster: &str) -> bool {
        if self.members.availability(cluster) == Some(Availability::Lost) {
            return true;
        }
        let copy = self.members.get(cluster).and_then(|m| m.store(key.0).get(&key.1));
        match copy {
            Some(copy) => self.has_template(key, federated, cluster, &copy) && is_healthy(&copy),
            // Where none is to be, none is waited for.
            None => self.target(key, federated, cluster).is_none(),
        }
    }

    /// Whether a copy has the newest template, whatever its number of replicas.
    fn has_template(&self, key: &SyncKey, federated: &Federated, cluster: &str, copy: &Copy) -> bool {
        let Some((share, hash)) = self.target(key, federated, cluster) else {
            return true;
        };
        let now = Share {
            replicas: copy.observed.replicas,
            ..share
        };
        let differences = self.differences(federated, cluster);
        let same = payload::applied_hash(federated.payload, &now, &differences);
        copy.applied == Some(hash) || copy.applied == Some(same)
    }

    /// What makes the copy of a cluster different from those of others, as a text.
    pub(super) fn differences(&self, federated: &Federated, cluster: &str) -> String {
        let object = self.clusters.get(&client::Key::from(cluster)).unwrap_or_default();
        let mut text = federated::overrides_for(federated, cluster, &object["metadata"]["labels"]);
        let mark = self
            .members
            .get(cluster)
            .and_then(|m| super::configs::mark(&m, federated));
        text.push_str(mark.as_deref().unwrap_or_default());
        text
    }
}

#[cfg(test)]
mod tests {
    use planner::ClusterInput;

    use super::*;

    fn view(name: &str, region: &str) -> ClusterView {
        let cluster = ClusterInput {
            name: name.to_owned(),
            region: region.to_owned(),
            ..ClusterInput::default()
        };
        ClusterView::new(cluster, Availability::Ready)
    }

    #[test]
    fn waves_are_clusters_or_regions_with_the_named_ones_first() {
        let clusters = [view("a", "us"), view("b", "eu"), view("c", "eu"), view("d", "")];
        let of = |text: &str| waves(&Preferences::parse(text).expect("good preferences"), &clusters);
        assert_eq!(of("{}"), Vec::<Vec<String>>::new());
        assert_eq!(of(r#"{"waves": "cluster"}"#), [["a"], ["b"], ["c"], ["d"]]);
        assert_eq!(
            of(r#"{"waves": "region", "order": ["c"]}"#),
            [vec!["b", "c"], vec!["d"], vec!["a"]]
        );
    }
}
