//! The tokens of Secrets of type `kubernetes.io/service-account-token`.
//!
//! They are asked for at the API server, bound to the Secret, so that no key is needed here and a
//! token ends with its Secret.

use std::sync::Arc;

use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
    },
};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    context::Context,
    informer::{self, Key, Store},
    pods,
    queue::{self, Queue, Requeue},
    write::{self, Writer},
};

const NAME: &str = "tokens-controller";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// A token in a Secret lives as long as the Secret: the server takes back what is bound to a Secret that is gone.
const TOKEN_SECONDS: i64 = 100 * 365 * 24 * 3600;

struct Controller {
    accounts: Arc<Store<ServiceAccount>>,
    secrets: Arc<Store<Secret>>,
    ca: String,
    writer: Writer,
}

/// Starts the controller. `ca` is the PEM of the API server's CA.
pub(super) fn start(context: &Arc<Context>, ca: &str) {
    let (rest, shutdown) = (&context.rest, &context.shutdown);
    let controller = Arc::new(Controller {
        accounts: informer::start(rest, shutdown),
        secrets: informer::start_with_fields(rest, "type=kubernetes.io/service-account-token", shutdown),
        ca: ca.to_owned(),
        writer: context.writer(NAME),
    });
    let queue = Arc::new(Queue::default());
    controller.accounts.on_change({
        let (queue, store) = (queue.clone(), controller.secrets.clone());
        move |change| {
            let account = change.key;
            let names = |secret: &Secret| account_of(secret).is_some_and(|name| name == account.name());
            for secret in store.list_in(account.namespace(), names) {
                queue.add(Key::from_meta(&secret.metadata));
            }
        }
    });
    controller.secrets.on_change({
        let queue = queue.clone();
        move |change| queue.add(change.key.clone())
    });
    queue::spawn(NAME, queue, 2, shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.fill_token(&key).await }
    });
}

fn account_of(secret: &Secret) -> Option<&String> {
    secret.metadata.annotations.as_ref()?.get(ACCOUNT)
}

impl Controller {
    /// Puts token, namespace and CA into a token Secret; deletes it if its account is gone.
    async fn fill_token(&self, key: &Key) -> Result<Requeue, write::Error> {
        self.accounts.synced().await;
        let Some(secret) = self.secrets.get(key) else {
            return Ok(None);
        };
        let Some(account) = account_of(&secret) else {
            return Ok(None);
        };
        let Some(account) = self.accounts.get(&Key::new(key.namespace(), account)) else {
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
                "namespace": ByteString(key.namespace().unwrap_or_default().as_bytes().to_vec()),
            },
        });
        self.writer.merge(&self.secrets, key, &patch).await?;
        Ok(None)
    }

    async fn token(&self, account: &ServiceAccount, secret: &Secret) -> Result<String, write::Error> {
        let key = Key::from_meta(&account.metadata);
        let api: Api<ServiceAccount> =
            Api::namespaced(self.writer.client().clone(), key.namespace().unwrap_or_default());
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
            .create_token_request(key.name(), &PostParams::default(), &request)
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
