//! PersistentVolumeClaims: every claim gets a volume of its own at once, a directory of the node agent.
//!
//! On a real cluster kube-controller-manager binds the two; in a minicluster that is done here as well.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
    PersistentVolumeSpec, PersistentVolumeStatus,
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    context::Context,
    informer::{self, Key, Store},
    queue::{self, Queue, Requeue},
    write::{self, Writer, code},
};

const NAME: &str = "persistentvolume-binder";

struct Controller {
    claims: Arc<Store<PersistentVolumeClaim>>,
    volumes: Api<PersistentVolume>,
    binds: bool,
    writer: Writer,
}

/// Starts the controller. `binds`: nobody else binds claims to their volumes.
pub(crate) fn start(context: &Arc<Context>, binds: bool) {
    let queue = Arc::new(Queue::default());
    let claims = informer::start(&context.rest, &context.shutdown);
    let volumes = Api::all(context.client.clone());
    let controller = Arc::new(Controller {
        claims,
        volumes,
        binds,
        writer: context.writer(NAME),
    });
    controller.claims.on_change({
        let queue = queue.clone();
        move |change| {
            let volume = change
                .old
                .as_ref()
                .filter(|_| change.new.is_none())
                .and_then(|claim| volume_of(claim));
            queue.add((change.key.clone(), volume));
        }
    });
    queue::spawn(NAME, queue, 1, &context.shutdown, move |(key, gone)| {
        let controller = controller.clone();
        async move { controller.reconcile(&key, gone).await }
    });
}

fn volume_of(claim: &PersistentVolumeClaim) -> Option<String> {
    claim.spec.as_ref()?.volume_name.clone().filter(|name| !name.is_empty())
}

impl Controller {
    async fn reconcile(&self, key: &Key, gone: Option<String>) -> Result<Requeue, write::Error> {
        let failed = |source| write::Error::Create {
            kind: "PersistentVolume".into(),
            key: key.clone(),
            source: Box::new(source),
        };
        if let Some(volume) = gone {
            return match self.volumes.delete(&volume, &DeleteParams::default()).await {
                Err(error) if code(&error) != Some(404) => Err(failed(error)),
                _ => Ok(None),
            };
        }
        let Some(claim) = self.claims.get(key) else {
            return Ok(None);
        };
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Bound") || claim.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        let name = volume_of(&claim).unwrap_or_else(|| format!("pvc-{uid}"));
        let spec = claim.spec.clone().unwrap_or_default();
        let capacity = spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.clone())
            .unwrap_or_default();
        let volume = PersistentVolume {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(PersistentVolumeSpec {
                access_modes: spec.access_modes.clone(),
                capacity: Some(capacity.clone()),
                claim_ref: Some(ObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("PersistentVolumeClaim".into()),
                    name: Some(key.name().to_owned()),
                    namespace: key.namespace().map(str::to_owned),
                    uid: Some(uid),
                    ..ObjectReference::default()
                }),
                host_path: Some(HostPathVolumeSource {
                    path: format!("/minicluster/{key}"),
                    type_: None,
                }),
                persistent_volume_reclaim_policy: Some("Delete".into()),
                storage_class_name: Some(spec.storage_class_name.clone().unwrap_or_default()),
                volume_mode: Some(spec.volume_mode.clone().unwrap_or_else(|| "Filesystem".into())),
                ..PersistentVolumeSpec::default()
            }),
            status: None,
        };
        match self.volumes.create(&PostParams::default(), &volume).await {
            Err(error) if code(&error) != Some(409) => return Err(failed(error)),
            _ => {}
        }
        if !self.binds {
            return Ok(None);
        }
        let bound = json!({"status": PersistentVolumeStatus { phase: Some("Bound".into()), ..PersistentVolumeStatus::default() }});
        self.volumes
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(bound))
            .await
            .map_err(failed)?;
        let patch = json!({
            "metadata": {"uid": claim.metadata.uid, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": name},
        });
        let claim = self.writer.merge(&self.claims, key, &patch).await?;
        let status = PersistentVolumeClaimStatus {
            phase: Some("Bound".into()),
            access_modes: spec.access_modes,
            capacity: Some(BTreeMap::from_iter(capacity)),
            ..PersistentVolumeClaimStatus::default()
        };
        self.writer
            .set_status(&self.claims, &claim, claim.status.as_ref(), &status)
            .await?;
        Ok(None)
    }
}
