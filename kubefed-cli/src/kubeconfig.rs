//! Reading and writing kubeconfig files, and clients for their contexts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kube::config::{Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use crate::Common;

/// The file that kubectl would use: `--kubeconfig`, the first of `$KUBECONFIG`, or `~/.kube/config`.
pub(crate) fn path(common: &Common) -> anyhow::Result<PathBuf> {
    if let Some(path) = &common.kubeconfig {
        return Ok(path.clone());
    }
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::home_dir().context("no home directory: give --kubeconfig")?;
    Ok(home.join(".kube/config"))
}

/// Reads the kubeconfig; `$KUBECONFIG` lists are merged as kubectl does.
pub(crate) fn read(common: &Common) -> anyhow::Result<Kubeconfig> {
    match &common.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).with_context(|| format!("cannot read kubeconfig {}", path.display())),
        None => Kubeconfig::read().context("cannot read kubeconfig"),
    }
}

/// The contexts of a kubeconfig, for error messages.
fn known_contexts(config: &Kubeconfig) -> String {
    let names: Vec<_> = config.contexts.iter().map(|c| c.name.as_str()).collect();
    if names.is_empty() {
        "it has none".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    }
}

/// The context of that name, or an error that lists those there are.
pub(crate) fn context<'a>(config: &'a Kubeconfig, name: &str) -> anyhow::Result<&'a Context> {
    config
        .contexts
        .iter()
        .find(|c| c.name == name)
        .and_then(|c| c.context.as_ref())
        .with_context(|| {
            format!(
                "cluster context {name:?} not found in the kubeconfig: {}",
                known_contexts(config)
            )
        })
}

/// The server address of a context.
pub(crate) fn server(config: &Kubeconfig, context_name: &str) -> anyhow::Result<String> {
    let context = context(config, context_name)?;
    let cluster = config
        .clusters
        .iter()
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster.as_ref());
    let Some(server) = cluster.and_then(|c| c.server.clone()) else {
        bail!(
            "context {context_name:?} names the cluster {:?}, which has no server in the kubeconfig",
            context.cluster
        )
    };
    Ok(server)
}

/// A client configuration for a context.
pub(crate) async fn config(kubeconfig: &Kubeconfig, context_name: &str) -> anyhow::Result<kube::Config> {
    context(kubeconfig, context_name)?;
    let options = KubeConfigOptions {
        context: Some(context_name.to_owned()),
        ..KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
        .await
        .with_context(|| format!("cannot use context {context_name:?}"))?;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    Ok(config)
}

/// A client for a context, after one question to the server, so that a wrong address, CA or credential is
/// reported at once and by name.
pub(crate) async fn client(kubeconfig: &Kubeconfig, context_name: &str) -> anyhow::Result<kube::Client> {
    let config = config(kubeconfig, context_name).await?;
    let server = config.cluster_url.to_string();
    let client = kube::Client::try_from(config).with_context(|| format!("cannot use context {context_name:?}"))?;
    client
        .apiserver_version()
        .await
        .map_err(|error| explain_unreachable(&server, context_name, error))?;
    Ok(client)
}

/// What went wrong with a server, in words that say what to do.
fn explain_unreachable(server: &str, context_name: &str, error: kube::Error) -> anyhow::Error {
    let hint = match &error {
        kube::Error::Api(status) if status.code == 401 => "its credentials are not accepted (401 Unauthorized)",
        kube::Error::Api(status) if status.code == 403 => "its user may not even read the version (403 Forbidden)",
        _ => {
            let chain = format!("{:#}", anyhow::Error::msg(format!("{error:?}")));
            if chain.contains("UnknownIssuer") || chain.contains("InvalidCertificate") {
                "its certificate is not signed by the context's certificate authority"
            } else {
                "it cannot be reached"
            }
        }
    };
    anyhow::Error::new(error).context(format!("the server {server} of context {context_name:?}: {hint}"))
}

/// Adds or replaces a cluster, a user and a context, all of one name, in the kubeconfig file.
/// The current context stays as it is. The file is replaced in one step, readable by its owner alone.
pub(crate) fn merge_into(
    path: &Path,
    name: &str,
    cluster: kube::config::Cluster,
    user: kube::config::AuthInfo,
) -> anyhow::Result<()> {
    let mut config = if path.exists() {
        Kubeconfig::read_from(path).with_context(|| format!("cannot read kubeconfig {}", path.display()))?
    } else {
        Kubeconfig {
            kind: Some("Config".into()),
            api_version: Some("v1".into()),
            ..Kubeconfig::default()
        }
    };
    remove_entries(&mut config, name);
    config.clusters.push(NamedCluster {
        name: name.to_owned(),
        cluster: Some(cluster),
        ..Default::default()
    });
    config.auth_infos.push(NamedAuthInfo {
        name: name.to_owned(),
        auth_info: Some(user),
        ..Default::default()
    });
    config.contexts.push(NamedContext {
        name: name.to_owned(),
        context: Some(Context {
            cluster: name.to_owned(),
            user: Some(name.to_owned()),
            ..Context::default()
        }),
        ..Default::default()
    });
    write(path, &config)
}

/// Removes the cluster, user and context of that name.
pub(crate) fn remove_entries(config: &mut Kubeconfig, name: &str) {
    config.clusters.retain(|c| c.name != name);
    config.auth_infos.retain(|c| c.name != name);
    config.contexts.retain(|c| c.name != name);
}

/// Writes a kubeconfig in one step.
pub(crate) fn write(path: &Path, config: &Kubeconfig) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(config).context("cannot write the kubeconfig as YAML")?;
    write_private(path, text.as_bytes())
}

/// Replaces a file in one step, readable by its owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
