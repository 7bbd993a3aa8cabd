//! What every namespace gets: the default ServiceAccount and the cluster's CA in a ConfigMap; and
//! the tokens of Secrets of type `kubernetes.io/service-account-token`.

use std::sync::Arc;

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
    },
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde_json::json;

use crate::{
    context::Context,
    informer::{self, Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

const NAME: &str = "serviceaccount-controller";
const TOKENS: &str = "tokens-controller";
const CA: &str = "kube-root-ca.crt";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// A token in a Secret lives as long as the Secret: the server takes back what is bound to a Secret that is gone.
const TOKEN_SECONDS: i64 = 100 * 365 * 24 * 3600;

struct Controller {
    namespaces: Arc<Store<Namespace>>,
    accounts: Arc<Store<ServiceAccount>>,
    config_maps: Arc<Store<ConfigMap>>,
    secrets: Arc<Store<Secret>>,
    ca: String,
    writer: Writer,
}

/// Starts both controllers. `ca` is the PEM of the API server's CA.
pub(super) fn start(context: &Arc<Context>, ca: &str) {
    let (client, shutdown) = (&context.client, &context.shutdown);
    let by_name = format!("metadata.name={CA}");
    let controller = Arc::new(Controller {
        namespaces: informer::start(client, None, shutdown.clone()),
        accounts: informer::start(client, None, shutdown.clone()),
        config_maps: informer::start(client, Some(&by_name), shutdown.clone()),
        secrets: informer::start(
            client,
            Some("type=kubernetes.io/service-account-token"),
            shutdown.clone(),
        ),
        ca: ca.to_owned(),
        writer: context.writer(NAME),
    });
    let namespaces = Arc::new(Queue::default());
    let secrets = Arc::new(Queue::default());
    controller.namespaces.on_change({
        let queue = namespaces.clone();
        move |change| queue.add(change.key().name)
    });
    controller.accounts.on_change({
        let (queue, secrets, store) = (namespaces.clone(), secrets.clone(), controller.secrets.clone());
        move |change| {
            let account = change.key();
            for secret in store.list_in(&account.namespace, |secret| account_of(secret) == Some(&account.name)) {
                secrets.add(Key::of(&*secret));
            }
            queue.add(account.namespace);
        }
    });
    controller.config_maps.on_change({
        let queue = namespaces.clone();
        move |change| queue.add(change.key().namespace)
    });
    controller.secrets.on_change({
        let queue = secrets.clone();
        move |change| queue.add(change.key())
    });
    let tokens = controller.clone();
    queue::spawn(NAME, namespaces, 2, shutdown, move |namespace| {
        let controller = controller.clone();
        async move { controller.furnish(&namespace).await }
    });
    queue::spawn(TOKENS, secrets, 2, shutdown, move |key| {
        let controller = tokens.clone();
        async move { controller.fill_token(&key).await }
    });
}

fn account_of(secret: &Secret) -> Option<&String> {
    secret.metadata.annotations.as_ref()?.get(ACCOUNT)
}

impl Controller {
    /// Gives a namespace what it lacks.
    async fn furnish(&self, name: &str) -> Result<Requeue, write::Error> {
        self.accounts.synced().await;
        self.config_maps.synced().await;
        let Some(namespace) = self.namespaces.get(&Key::new("", name)) else {
            return Ok(None);
        };
        if pods::is_deleting(&namespace.metadata) {
            return Ok(None);
        }
        let meta = |object: &str| ObjectMeta {
            name: Some(object.to_owned()),
            namespace: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        if self.accounts.get(&Key::new(name, "default")).is_none() {
            let account = ServiceAccount {
                metadata: meta("default"),
                ..ServiceAccount::default()
            };
            settle(self.writer.create(&self.accounts, &account).await.map(drop))?;
        }
        let data = [("ca.crt".to_owned(), self.ca.clone())].into();
        match self.config_maps.get(&Key::new(name, CA)) {
            None => {
                let mut config_map = ConfigMap {
                    metadata: meta(CA),
                    data: Some(data),
                    ..ConfigMap::default()
                };
                config_map.metadata.annotations = Some(
                    [(
                        "kubernetes.io/description".to_owned(),
                        "The CA certificate of this cluster's API server, for clients that run in pods.".to_owned(),
                    )]
                    .into(),
                );
                settle(self.writer.create(&self.config_maps, &config_map).await.map(drop))?;
            }
            Some(held) if held.data.as_ref() != Some(&data) => {
                let patch = json!({"metadata": {"uid": held.metadata.uid}, "data": data});
                self.writer
                    .merge(&self.config_maps, &Key::new(name, CA), &patch)
                    .await?;
            }
            Some(_) => {}
        }
        Ok(None)
    }

    /// Puts token, namespace and CA into a token Secret; deletes it if its account is gone.
    async fn fill_token(&self, key: &Key) -> Result<Requeue, write::Error> {
        self.accounts.synced().await;
        let Some(secret) = self.secrets.get(key) else {
            return Ok(None);
        };
        let Some(account) = account_of(&secret) else {
            return Ok(None);
        };
        let Some(account) = self.accounts.get(&Key::new(&key.namespace, account)) else {
            // Only a Secret that had its account once is a leftover; another one may be early.
            if secret
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(ACCOUNT_UID))
            {
                self.writer.delete(&self.secrets, &*secret, None).await?;
            }
            return Ok(None);
        };
        let uid = account.metadata.uid.clone().unwrap_or_default();
        let named = secret
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(ACCOUNT_UID))
            == Some(&uid);
        let has = |field: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(field));
        if pods::is_deleting(&secret.metadata) || (named && has("token") && has("ca.crt") && has("namespace")) {
            return Ok(None);
        }
        let token = self.token(&account, &secret).await?;
        let patch = json!({
            "metadata": {"uid": secret.metadata.uid, "annotations": {ACCOUNT_UID: uid}},
            "data": {
                "token": ByteString(token.into_bytes()),
                "ca.crt": ByteString(self.ca.clone().into_bytes()),
                "namespace": ByteString(key.namespace.clone().into_bytes()),
            },
        });
        self.writer.merge(&self.secrets, key, &patch).await?;
        Ok(None)
    }

    async fn token(&self, account: &ServiceAccount, secret: &Secret) -> Result<String, write::Error> {
        let key = Key::of(account);
        let api: Api<ServiceAccount> = Api::namespaced(self.writer.client().clone(), &key.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: None,
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Secret".into()),
                    name: secret.metadata.name.clone(),
                    uid: secret.metadata.uid.clone(),
                }),
                expiration_seconds: Some(TOKEN_SECONDS),
            }),
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&key.name, &PostParams::default(), &request)
            .await;
        match answer {
            Ok(answer) => Ok(answer.status.and_then(|status| status.token).unwrap_or_default()),
            Err(source) => Err(write::Error::Create {
                kind: "TokenRequest".into(),
                key,
                source: Box::new(source),
            }),
        }
    }
}

/// Somebody else was first, or the namespace is going: both are fine.
fn settle(result: Result<(), write::Error>) -> Result<(), write::Error> {
    match result {
        Err(error) if error.code() == Some(409) || error.is_namespace_terminating() => Ok(()),
        other => other,
    }
}
