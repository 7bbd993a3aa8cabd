//! Workloads with a federated autoscaler. Their clusters' autoscalers decide how many replicas run; the federated
//! object says the sum, as the target of any autoscaler does, so that its users see what is wanted and nothing
//! jumps when the autoscaler is deleted.

use std::sync::Arc;

use planner::placement::Placement;
use serde_json::json;

use super::{SyncKey, engine::Engine, federated::Federated, kinds};

impl Engine {
    /// The federated autoscaler of a workload.
    pub(super) fn autoscaler_of(&self, key: &SyncKey) -> Option<(SyncKey, Arc<Federated>)> {
        let kind = kinds::index_of("HorizontalPodAutoscaler")?;
        let scales = |f: &Federated| f.deletion.is_none() && f.scales.as_ref() == Some(key);
        let (name, found) = self.store(kind).find_in(key.1.namespace(), scales)?;
        Some(((kind, name), found))
    }

    /// Writes the sum of what the clusters' autoscalers chose to the federated object, if it says something else.
    /// Zero is left alone: it turns autoscaling off.
    pub(super) async fn follow_autoscaler(&self, key: &SyncKey, federated: &Federated) -> Result<(), client::Error> {
        let Some(said) = federated.demand.replicas.filter(|said| *said > 0) else {
            return Ok(());
        };
        if self.autoscaler_of(key).is_none() {
            return Ok(());
        }
        let chosen = self.placement(key).and_then(|placement| self.chosen(key, &placement));
        let Some(replicas) = chosen.filter(|replicas| *replicas > 0 && *replicas != said) else {
            return Ok(());
        };
        // Of this version only: a user who scales meanwhile is right.
        let patch = json!({
            "metadata": {"uid": &*federated.uid, "resourceVersion": &*federated.version},
            "spec": {"replicas": replicas},
        });
        let resource = Self::kind(key).resource();
        let object = self.federation.merge(&resource, &key.1, "", &patch).await?;
        self.wrote(key, object);
        Ok(())
    }

    /// The replicas of all copies together; `None` while one of them is not there or not yet as planned.
    fn chosen(&self, key: &SyncKey, placement: &Placement) -> Option<i64> {
        let mut sum = 0;
        for (cluster, share) in &placement.shares {
            let copy = self.members.get(cluster)?.store(key.0).get(&key.1)?;
            let replicas = copy.observed.replicas.filter(|_| copy.ours && !copy.deleting)?;
            if share.replicas.is_some_and(|told| told != replicas) {
                return None;
            }
            sum += replicas;
        }
        Some(sum)
    }
}
