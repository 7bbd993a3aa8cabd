//! Who may do what: authentication, impersonation and authorization put together over the registry.

mod escalation;
mod follow;
mod objects;
mod provision;

use std::{path::PathBuf, sync::Arc};

use apimachinery::status::Status;
use http::HeaderMap;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Args,
    authn::{
        Authentication, Authenticator as _, Credentials, ServiceAccountTokens, TokenFile, TokenObjects, UserInfo,
        impersonation, service_account, token_file,
    },
    authz::{AlwaysAllow, Attributes, Authorizer, Resource, Target, Union, forbidden, rbac::Policy},
    pki,
    registry::Registry,
    request::RequestInfo,
};

pub(crate) use escalation::check as check_escalation;

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token file is unusable.
    #[error("cannot use the token file")]
    TokenFile(#[source] token_file::Error),
    /// The key that signs ServiceAccount tokens cannot be made.
    #[error("cannot make the key of ServiceAccount tokens")]
    MakeKey(#[source] pki::Error),
    /// A key of ServiceAccount tokens cannot be read.
    #[error("cannot read the ServiceAccount key {}", path.display())]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key of ServiceAccount tokens is unusable.
    #[error("cannot use the ServiceAccount key {}", path.display())]
    UseKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: service_account::KeyError,
    },
    /// An authorization mode is unknown.
    #[error("authorization mode {mode:?} is not known: RBAC, Node, AlwaysAllow and AlwaysDeny are")]
    Mode {
        /// As given.
        mode: String,
    },
    /// The first roles and bindings cannot be made.
    #[error("cannot create the roles that every cluster has")]
    Provision(#[source] Status),
    /// The store fails.
    #[error("cannot read roles and bindings")]
    Follow(#[source] storage::Error),
}

/// Decides for each request who it comes from and whether it may go on.
pub struct Access {
    authentication: Authentication,
    authorizer: Arc<dyn Authorizer>,
    objects: Arc<dyn TokenObjects>,
}

impl Access {
    /// As the options say. With RBAC the bootstrap roles are made, and all are read, before this returns.
    ///
    /// # Errors
    /// If keys, tokens or modes are unusable, or the store fails.
    pub(crate) async fn start(
        args: &Args,
        registry: &Arc<Registry>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, Error> {
        let tokens = args
            .token_auth_file
            .as_deref()
            .map(TokenFile::read)
            .transpose()
            .map_err(Error::TokenFile)?;
        let service_accounts = ServiceAccountTokens::new(keys(args)?, &args.service_account_issuer);
        let objects: Arc<dyn TokenObjects> = Arc::new(objects::Objects::new(registry));
        let mut members: Vec<Arc<dyn Authorizer>> = Vec::new();
        for mode in &args.authorization_mode {
            match mode.as_str() {
                "AlwaysAllow" => members.push(Arc::new(AlwaysAllow)),
                // Nodes act by their bindings; nothing is added by denying.
                "AlwaysDeny" | "Node" => {}
                "RBAC" => members.push(rbac(registry, tasks, stop).await?),
                _ => return Err(Error::Mode { mode: mode.clone() }),
            }
        }
        let authentication = Authentication::new(
            tokens.unwrap_or_default(),
            Arc::new(service_accounts),
            Arc::clone(&objects),
            args.anonymous_auth,
        );
        Ok(Self {
            authentication,
            authorizer: Arc::new(Union::new(members)),
            objects,
        })
    }

    /// Tokens of every kind.
    pub(crate) fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// Who may do what.
    pub(crate) fn authorizer(&self) -> &dyn Authorizer {
        &*self.authorizer
    }

    /// What tokens refer to.
    pub(crate) fn objects(&self) -> &dyn TokenObjects {
        &*self.objects
    }

    /// The user a request acts as, if it may do what it asks for.
    ///
    /// # Errors
    /// 401 without good credentials, 403 if it may not, 400 for headers that make no sense.
    pub(crate) async fn admit(
        &self,
        credentials: Credentials<'_>,
        headers: &HeaderMap,
        info: &RequestInfo,
    ) -> Result<UserInfo, Status> {
        let authenticated = self.authentication.authenticate(credentials).await;
        let mut user = authenticated.map_err(|_| Status::unauthorized())?;
        if let Some(wanted) = impersonation::requested(headers)? {
            user = impersonation::allowed(&*self.authorizer, &attributes(&user, info), wanted)?;
        }
        let attributes = attributes(&user, info);
        let decision = self.authorizer.authorize(&attributes);
        if decision.is_allowed() {
            return Ok(user);
        }
        Err(forbidden(&attributes, decision.reason()))
    }
}

fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    let target = if info.is_resource {
        Target::Resource(Resource {
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
        })
    } else {
        Target::Path(&info.path)
    };
    Attributes {
        user,
        verb: &info.verb,
        target,
    }
}

/// Makes the bootstrap roles and keeps a policy in step with the store.
async fn rbac(
    registry: &Arc<Registry>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<dyn Authorizer>, Error> {
    provision::bootstrap(registry).await.map_err(Error::Provision)?;
    let policy = Arc::new(Policy::default());
    follow::start(registry, &policy, tasks, stop)
        .await
        .map_err(Error::Follow)?;
    tasks.spawn(provision::aggregate(Arc::clone(registry), stop.clone()));
    // A registry is started once; a second policy would be the same as the first.
    let _ = registry.policy.set(Arc::clone(&policy));
    Ok(policy)
}

fn keys(args: &Args) -> Result<service_account::Keys, Error> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|source| Error::ReadKey {
            path: path.clone(),
            source,
        })
    };
    let unusable = |path: &PathBuf| {
        let path = path.clone();
        move |source| Error::UseKey { path, source }
    };
    let mut keys = service_account::Keys::default();
    let own = args.data_dir.join("pki/sa.key");
    let (path, signing) = match &args.service_account_signing_key_file {
        Some(path) => (path, read(path)?),
        None => (&own, pki::service_account_key(&own).map_err(Error::MakeKey)?),
    };
    keys.set_signer(&signing).map_err(unusable(path))?;
    for path in &args.service_account_key_file {
        keys.add_verifiers(&read(path)?).map_err(unusable(path))?;
    }
    Ok(keys)
}
