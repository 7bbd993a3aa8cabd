//! What the control plane's pods may do: as little as they can work with, so that a host cluster that enforces
//! restrictions still runs them.

use serde_json::{Value, json};

/// User and group of the control plane's processes: the one called `nonroot` in distroless images.
const NONROOT: u32 = 65532;
/// Ports below need the capability NET_BIND_SERVICE.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// What a container needs beyond nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    /// Nothing.
    None,
    /// To listen on ports below 1024.
    BindLowPorts,
}

impl Privilege {
    /// What it takes to listen on these ports.
    pub(super) fn to_bind(ports: &[u16]) -> Self {
        // Port 0 is a free one, which is never a low one.
        let low = |port: &u16| (1..FIRST_UNPRIVILEGED_PORT).contains(port);
        if ports.iter().any(low) {
            Self::BindLowPorts
        } else {
            Self::None
        }
    }
}

/// The securityContext of a pod. The group owns its volumes.
pub(super) fn pod() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": NONROOT, "runAsGroup": NONROOT, "fsGroup": NONROOT,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The securityContext of a container.
pub(super) fn container(privilege: Privilege) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
    });
    if privilege == Privilege::BindLowPorts {
        // A capability that is added reaches only processes of root: Kubernetes has no ambient capabilities.
        context["runAsUser"] = json!(0);
        context["runAsNonRoot"] = json!(false);
        context["capabilities"]["add"] = json!(["NET_BIND_SERVICE"]);
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_container_that_binds_a_low_port_runs_as_root_and_with_that_capability_alone() {
        let low = container(Privilege::to_bind(&[80, 8443]));
        assert_eq!(low["runAsUser"], 0);
        assert_eq!(
            low["capabilities"],
            json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})
        );
        for ports in [[8080, 8443], [0, 0], [1024, 65535]] {
            let high = container(Privilege::to_bind(&ports));
            assert_eq!(high.get("runAsUser"), None, "{ports:?}");
            assert_eq!(high["capabilities"], json!({"drop": ["ALL"]}), "{ports:?}");
        }
    }
}
