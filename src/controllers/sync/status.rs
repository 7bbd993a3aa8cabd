//! Merging the statuses of an object's copies into the one its users see.

use apimachinery::Object;
use planner::Share;
use serde_json::json;

/// One copy, as far as the merged status goes.
#[derive(Debug, Clone)]
pub struct MemberStatus<'a> {
    /// Cluster it is in.
    pub cluster: &'a str,
    /// What the cluster should have.
    pub share: Share,
    /// Whether the copy is there, is what the federated object says now, and its controller has seen it.
    pub current: bool,
    /// Whether the cluster answers.
    pub reachable: bool,
    /// The kept fields of its status.
    pub status: Object,
}

impl MemberStatus<'_> {
    /// A condition of the copy that is True.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Object> {
        self.status["conditions"]
            .as_array()?
            .iter()
            .find(|c| c["type"] == kind && c["status"] == "True")
    }
}

/// Everything a merged status is made of.
#[derive(Debug)]
pub struct Merge<'a> {
    /// Generation of the federated object.
    pub generation: i64,
    /// What it asks for.
    pub demand: Share,
    /// The status it has now.
    pub previous: &'a Object,
    /// One entry per cluster that should have a copy.
    pub copies: Vec<MemberStatus<'a>>,
    /// Now, for transition times.
    pub now: jiff::Timestamp,
}

impl Merge<'_> {
    /// Of an object that has no copies and never had a status.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self {
            generation: 0,
            demand: Share::default(),
            previous: &Object::Null,
            copies: Vec::new(),
            now: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    /// Sum of a number over all copies.
    #[must_use]
    pub fn sum(&self, field: &str) -> i64 {
        self.copies.iter().filter_map(|c| c.status[field].as_i64()).sum()
    }

    /// Writes the sum of a number, unless it is 0 (as members leave out what is 0).
    pub fn put_sum(&self, status: &mut Object, field: &str) {
        let sum = self.sum(field);
        if sum != 0 {
            status[field] = json!(sum);
        }
    }

    /// Whether every cluster that should have a copy has the newest.
    #[must_use]
    pub fn all_applied(&self) -> bool {
        self.copies.iter().all(|c| c.current)
    }

    /// The generation that every member has seen: the newest once all have it, else what it was.
    #[must_use]
    pub fn observed_generation(&self) -> i64 {
        if self.all_applied() {
            self.generation
        } else {
            self.previous["observedGeneration"].as_i64().unwrap_or(0)
        }
    }

    /// For each type, the condition of the first cluster where it is worst, naming the cluster.
    #[must_use]
    pub fn worst_conditions(&self, types: &[&str]) -> Vec<Object> {
        let mut worst = Vec::new();
        for kind in types {
            // A failure is worst when True, an ability when False.
            let bad = if kind.ends_with("Failure") || kind.ends_with("Limited") {
                "True"
            } else {
                "False"
            };
            let all = || {
                self.copies.iter().filter_map(|copy| {
                    let found = copy.status["conditions"]
                        .as_array()?
                        .iter()
                        .find(|c| c["type"] == *kind)?;
                    Some((copy.cluster, found))
                })
            };
            let Some((cluster, found)) = all().find(|(_, c)| c["status"] == bad).or_else(|| all().next()) else {
                continue;
            };
            let mut condition = found.clone();
            if condition["status"] == bad {
                let message = format!("{cluster}: {}", condition["message"].as_str().unwrap_or_default());
                condition["message"] = json!(message);
            }
            worst.push(condition);
        }
        worst
    }

    /// A condition whose transition time is kept while its status is.
    #[must_use]
    pub fn condition(&self, kind: &str, status: bool, reason: &str, message: String) -> Object {
        let status = if status { "True" } else { "False" };
        let now = apimachinery::time::format(self.now);
        let old = self.previous["conditions"]
            .as_array()
            .and_then(|all| all.iter().find(|c| c["type"] == kind));
        let kept = |field: &str, same: bool| {
            old.filter(|_| same)
                .and_then(|c| c[field].as_str())
                .map_or_else(|| now.clone(), str::to_owned)
        };
        let same_status = old.is_some_and(|c| c["status"] == status);
        let same = same_status && old.is_some_and(|c| c["reason"] == reason && c["message"] == message.as_str());
        json!({
            "type": kind,
            "status": status,
            "lastUpdateTime": kept("lastUpdateTime", same),
            "lastTransitionTime": kept("lastTransitionTime", same_status),
            "reason": reason,
            "message": message,
        })
    }
}

/// `Available` and `Progressing` of a federated Deployment, as `kubectl rollout status` and `wait` read them.
#[must_use]
pub fn deployment_conditions(input: &Merge<'_>, wanted: i64) -> Vec<Object> {
    if input.copies.is_empty() {
        return Vec::new();
    }
    let false_in = |kind: &str| -> Vec<&str> {
        let is_false = |c: &&MemberStatus<'_>| {
            c.status["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|x| x["type"] == kind && x["status"] == "False"))
        };
        input.copies.iter().filter(is_false).map(|c| c.cluster).collect()
    };
    let unavailable = false_in("Available");
    let enough = input.sum("availableReplicas") >= wanted
        || (unavailable.is_empty() && input.copies.iter().any(|c| c.condition("Available").is_some()));
    let available = if enough {
        input.condition(
            "Available",
            true,
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.".to_owned(),
        )
    } else {
        let text = if unavailable.is_empty() {
            "Deployment does not have minimum availability.".to_owned()
        } else {
            format!(
                "Deployment does not have minimum availability in {}.",
                unavailable.join(", ")
            )
        };
        input.condition("Available", false, "MinimumReplicasUnavailable", text)
    };
    let stuck = false_in("Progressing");
    let done = input.all_applied()
        && input.sum("updatedReplicas") >= wanted
        && input.sum("replicas") <= input.sum("updatedReplicas")
        && input.sum("availableReplicas") >= wanted;
    let progressing = if !stuck.is_empty() {
        let text = format!("Deployment has exceeded its progress deadline in {}.", stuck.join(", "));
        input.condition("Progressing", false, "ProgressDeadlineExceeded", text)
    } else if done {
        input.condition(
            "Progressing",
            true,
            "NewReplicaSetAvailable",
            "Deployment has successfully progressed in every cluster.".to_owned(),
        )
    } else {
        input.condition(
            "Progressing",
            true,
            "ReplicaSetUpdated",
            "Deployment is progressing.".to_owned(),
        )
    };
    let mut conditions = vec![available, progressing];
    conditions.extend(input.worst_conditions(&["ReplicaFailure"]));
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::kinds;

    fn copy(cluster: &str, share: i64, current: bool, status: Object) -> MemberStatus<'_> {
        MemberStatus {
            cluster,
            share: Share::of(share),
            current,
            reachable: true,
            status,
        }
    }

    fn merge(kind: &str, demand: i64, previous: &Object, copies: Vec<MemberStatus<'_>>) -> Object {
        let kind = kinds::all()[usize::from(kinds::index_of(kind).expect("known"))];
        let now = jiff::Timestamp::from_second(1_000).expect("valid");
        kind.merge(&Merge {
            generation: 2,
            demand: Share::of(demand),
            previous,
            copies,
            now,
        })
        .expect("has a status")
    }

    #[test]
    fn replicas_are_summed_and_fully_labelled_ones_are_not_confused_with_all() {
        let a = json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 1});
        let b = json!({"replicas": 4, "fullyLabeledReplicas": 4});
        let status = merge(
            "ReplicaSet",
            7,
            &json!({}),
            vec![copy("a", 3, true, a), copy("b", 4, true, b)],
        );
        assert_eq!(
            status,
            json!({"replicas": 7, "observedGeneration": 2, "fullyLabeledReplicas": 6, "readyReplicas": 1})
        );
    }

    #[test]
    fn the_generation_is_observed_once_every_cluster_has_it() {
        let previous = json!({"observedGeneration": 1});
        let copies = vec![copy("a", 1, true, json!({})), copy("b", 1, false, json!({}))];
        assert_eq!(merge("ReplicaSet", 2, &previous, copies)["observedGeneration"], 1);
    }

    #[test]
    fn a_deployment_is_done_when_every_cluster_is() {
        let done = || {
            json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "conditions": [{"type": "Available", "status": "True"}]})
        };
        let status = merge(
            "Deployment",
            4,
            &json!({}),
            vec![copy("a", 2, true, done()), copy("b", 2, true, done())],
        );
        assert_eq!(status["conditions"][1]["reason"], "NewReplicaSetAvailable");
        assert_eq!(status["conditions"][0]["status"], "True");
        let half = merge(
            "Deployment",
            4,
            &json!({}),
            vec![copy("a", 2, true, done()), copy("b", 2, false, json!({}))],
        );
        assert_eq!(half["conditions"][1]["reason"], "ReplicaSetUpdated");
        assert_eq!(half["unavailableReplicas"], 2);
    }

    #[test]
    fn a_deadline_exceeded_anywhere_is_named() {
        let stuck =
            json!({"conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        let status = merge(
            "Deployment",
            4,
            &json!({}),
            vec![copy("eu", 2, true, stuck), copy("us", 2, true, json!({}))],
        );
        assert_eq!(status["conditions"][1]["reason"], "ProgressDeadlineExceeded");
        assert!(
            status["conditions"][1]["message"]
                .as_str()
                .is_some_and(|m| m.contains("eu"))
        );
    }

    #[test]
    fn transition_times_are_kept_while_the_status_is() {
        let previous = json!({"conditions": [
            {"type": "Available", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z", "lastUpdateTime": "2020-01-01T00:00:00Z",
             "reason": "MinimumReplicasUnavailable", "message": "Deployment does not have minimum availability."},
        ]});
        let status = merge("Deployment", 4, &previous, vec![copy("a", 4, true, json!({}))]);
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(status["conditions"][1]["lastTransitionTime"], "1970-01-01T00:16:40Z");
    }

    #[test]
    fn a_job_is_complete_when_every_shard_is() {
        let complete = || json!({"succeeded": 2, "completionTime": "2026-01-01T00:00:05Z", "conditions": [{"type": "Complete", "status": "True"}]});
        let share = Share {
            replicas: Some(1),
            completions: Some(2),
            ..Share::default()
        };
        let shard = |cluster, status| MemberStatus {
            share,
            ..copy(cluster, 1, true, status)
        };
        let running = merge(
            "Job",
            2,
            &json!({}),
            vec![shard("a", complete()), shard("b", json!({"active": 1}))],
        );
        assert!(running.get("conditions").is_none(), "{running}");
        let done = merge(
            "Job",
            2,
            &json!({}),
            vec![shard("a", complete()), shard("b", complete())],
        );
        assert_eq!(done["conditions"][1]["type"], "Complete");
        assert_eq!(done["succeeded"], 4);
    }

    #[test]
    fn a_job_fails_as_soon_as_a_shard_does() {
        let failed = json!({"failed": 1, "conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]});
        let status = merge(
            "Job",
            2,
            &json!({}),
            vec![copy("a", 1, true, json!({"active": 1})), copy("b", 1, true, failed)],
        );
        assert_eq!(status["conditions"][0]["type"], "Failed");
        assert_eq!(status["conditions"][0]["message"], "b: BackoffLimitExceeded");
    }

    #[test]
    fn load_balancers_of_all_clusters_are_listed_once_and_in_order() {
        let lb = |ip: &str| json!({"loadBalancer": {"ingress": [{ "ip": ip }]}});
        let status = merge(
            "Service",
            0,
            &json!({}),
            vec![
                copy("a", 0, true, lb("10.0.0.2")),
                copy("b", 0, true, lb("10.0.0.1")),
                copy("c", 0, true, lb("10.0.0.2")),
            ],
        );
        assert_eq!(
            status,
            json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}})
        );
    }
}
