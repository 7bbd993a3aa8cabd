//! A client of a member cluster, from its Cluster object and its credentials Secret.

use std::net::{IpAddr, ToSocketAddrs, UdpSocket};

use apimachinery::Object;
use base64::Engine;

use crate::{Rest, connect};

/// Why there is no client for a member. The text goes into the Cluster's condition, for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `spec.serverAddressByClientCIDRs` has no entry for where we are.
    #[error("no entry of spec.serverAddressByClientCIDRs holds {address}, the address of the controller manager")]
    NoAddress {
        /// Our address.
        address: String,
    },
    /// A value in the Secret is not base64 or not text.
    #[error("key {key} of secret {secret} is not valid base64 text")]
    SecretValue {
        /// Name of the Secret.
        secret: String,
        /// Key in it.
        key: &'static str,
    },
    /// The Secret has one of token and ca.crt only.
    #[error("secret {secret} has {present} but not {missing}")]
    Incomplete {
        /// Name of the Secret.
        secret: String,
        /// Key it has.
        present: &'static str,
        /// Key it lacks.
        missing: &'static str,
    },
    /// The Secret has neither token and ca.crt nor kubeconfig.
    #[error("secret {secret} has neither token and ca.crt nor kubeconfig")]
    NoCredentials {
        /// Name of the Secret.
        secret: String,
    },
    /// The credentials do not make a client.
    #[error("cannot use the credentials of cluster {cluster}")]
    Connect {
        /// Name of the cluster.
        cluster: String,
        /// The cause.
        #[source]
        source: connect::Error,
    },
}

/// The server address of a Cluster for a client at `from`: the longest CIDR that holds it; an empty CIDR holds all.
#[must_use]
pub fn server_address(cluster: &Object, from: IpAddr) -> Option<&str> {
    let entries = cluster["spec"]["serverAddressByClientCIDRs"].as_array()?;
    let mut best: Option<(i32, &str)> = None;
    for entry in entries {
        let Some(address) = entry["serverAddress"].as_str().filter(|a| !a.is_empty()) else {
            continue;
        };
        let cidr = entry["clientCIDR"].as_str().unwrap_or_default();
        let length = if cidr.is_empty() {
            -1
        } else {
            match cidr.parse::<ipnet::IpNet>() {
                Ok(net) if net.contains(&from) => i32::from(net.prefix_len()),
                Ok(_) | Err(_) => continue,
            }
        };
        if best.is_none_or(|(longest, _)| length > longest) {
            best = Some((length, address));
        }
    }
    best.map(|(_, address)| address)
}

/// Our address on the way to the first server of a Cluster; loopback if there is no way.
#[must_use]
pub fn local_address(cluster: &Object) -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let Some(server) = cluster["spec"]["serverAddressByClientCIDRs"][0]["serverAddress"].as_str() else {
        return loopback;
    };
    let authority = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let target = if authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    // Connecting a datagram socket sends nothing; it only asks for the route.
    let Some(remote) = target.to_socket_addrs().ok().and_then(|mut all| all.next()) else {
        return loopback;
    };
    let any = if remote.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    local.map_or(loopback, |address| address.ip())
}

fn secret_value(secret: &Object, key: &'static str) -> Result<Option<String>, Error> {
    let Some(text) = secret["data"][key].as_str() else {
        return Ok(None);
    };
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .map(Some)
        .ok_or_else(|| Error::SecretValue {
            secret: secret_name(secret),
            key,
        })
}

fn secret_name(secret: &Object) -> String {
    secret["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// A client of the member. Without a Secret it has no credentials.
///
/// # Errors
/// If the address or the credentials are missing or wrong.
pub async fn connect(cluster: &Object, secret: Option<&Object>, from: IpAddr) -> Result<Rest, Error> {
    let name = cluster["metadata"]["name"].as_str().unwrap_or_default();
    let server = server_address(cluster, from).ok_or_else(|| Error::NoAddress {
        address: from.to_string(),
    })?;
    let wrap = |source| Error::Connect {
        cluster: name.to_owned(),
        source,
    };
    let Some(secret) = secret else {
        return connect::anonymous(name, server).map_err(wrap);
    };
    match (
        secret_value(secret, "token")?,
        secret_value(secret, "ca.crt")?,
        secret_value(secret, "kubeconfig")?,
    ) {
        (Some(token), Some(ca), _) => connect::token(name, server, &ca, &token).map_err(wrap),
        (_, _, Some(text)) => connect::kubeconfig_text(name, &text, Some(server)).await.map_err(wrap),
        (Some(_), None, None) => Err(Error::Incomplete {
            secret: secret_name(secret),
            present: "token",
            missing: "ca.crt",
        }),
        (None, Some(_), None) => Err(Error::Incomplete {
            secret: secret_name(secret),
            present: "ca.crt",
            missing: "token",
        }),
        (None, None, None) => Err(Error::NoCredentials {
            secret: secret_name(secret),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(entries: &Object) -> Object {
        json!({"metadata": {"name": "us"}, "spec": {"serverAddressByClientCIDRs": entries}})
    }

    #[test]
    fn the_longest_matching_cidr_chooses_the_address() {
        let cluster = cluster(&json!([
            {"clientCIDR": "0.0.0.0/0", "serverAddress": "https://public"},
            {"clientCIDR": "10.1.0.0/16", "serverAddress": "https://near"},
            {"clientCIDR": "10.0.0.0/8", "serverAddress": "https://private"},
            {"clientCIDR": "", "serverAddress": "https://fallback"},
        ]));
        let from = |text: &str| text.parse::<IpAddr>().expect("valid");
        assert_eq!(server_address(&cluster, from("10.1.2.3")), Some("https://near"));
        assert_eq!(server_address(&cluster, from("10.2.2.3")), Some("https://private"));
        assert_eq!(server_address(&cluster, from("1.2.3.4")), Some("https://public"));
        assert_eq!(server_address(&cluster, from("::1")), Some("https://fallback"));
    }

    #[tokio::test]
    async fn a_cluster_without_an_address_for_us_is_an_error_not_a_crash() {
        let cluster = cluster(&json!([{"clientCIDR": "10.0.0.0/8", "serverAddress": "https://private"}]));
        let error = connect(&cluster, None, IpAddr::from([127, 0, 0, 1]))
            .await
            .expect_err("no address");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }

    #[tokio::test]
    async fn half_a_pair_of_credentials_is_named() {
        let cluster = cluster(&json!([{"clientCIDR": "", "serverAddress": "https://x"}]));
        let secret = json!({"metadata": {"name": "s"}, "data": {"token": "dA=="}});
        let error = connect(&cluster, Some(&secret), IpAddr::from([127, 0, 0, 1]))
            .await
            .expect_err("no CA");
        assert_eq!(error.to_string(), "secret s has token but not ca.crt");
        let secret = json!({"metadata": {"name": "s"}, "data": {"token": "***"}});
        let error = connect(&cluster, Some(&secret), IpAddr::from([127, 0, 0, 1]))
            .await
            .expect_err("not base64");
        assert_eq!(error.to_string(), "key token of secret s is not valid base64 text");
    }

    #[test]
    fn our_address_is_the_one_that_routes_to_the_server() {
        let cluster = cluster(&json!([{"clientCIDR": "", "serverAddress": "https://127.0.0.1:6443"}]));
        assert_eq!(local_address(&cluster), IpAddr::from([127, 0, 0, 1]));
    }
}
