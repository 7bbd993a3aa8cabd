//! The objects of a control plane in its host cluster, as pure functions of the options. The Helm chart renders the
//! same ones, which a test checks.

use serde_json::{Value, json};

use super::security::{self, Privilege};
use super::{InitArgs, ServiceType};
use crate::certificates::{Authority, Pair};

/// Annotation on everything `init` creates: the name of the federation. `join` reads it.
pub(crate) const FEDERATION_NAME: &str = "federation.alpha.kubernetes.io/federation-name";
/// Secret with the API server's certificates.
pub(crate) const APISERVER_CREDENTIALS: &str = "apiserver-credentials";
/// Name of the Service and Deployment of the API server.
pub(crate) const APISERVER: &str = "apiserver";
/// Name of the controllers' Deployment.
pub(crate) const CONTROLLER_MANAGER: &str = "controller-manager";
/// Name of the load balancer's Deployment.
pub(crate) const INGRESS: &str = "ingress";
const CONTROLLER_ACCOUNT: &str = "federation-controller-manager";
const DATA_CLAIM: &str = "apiserver-data";
const SECURE_PORT: u16 = 8443;
const CONFIG_DIR: &str = "/etc/federation";
const DATA_DIR: &str = "/var/lib/federation";

const PART_OF: &str = "app.kubernetes.io/part-of";
const SYSTEM: &str = "federated-cluster";
const COMPONENT: &str = "app.kubernetes.io/component";

/// Label selector of a component's pods.
pub(crate) fn component_selector(component: &str) -> String {
    format!("{PART_OF}={SYSTEM},{COMPONENT}={component}")
}

/// What every object of a control plane shares.
pub(crate) struct Plane<'a> {
    /// Name of the federation.
    pub(crate) federation: &'a str,
    /// Namespace in the host cluster.
    pub(crate) namespace: &'a str,
    /// The options of `init`.
    pub(crate) args: &'a InitArgs,
}

impl Plane<'_> {
    fn meta(&self, name: &str) -> Value {
        self.meta_of(name, name)
    }

    /// Metadata of an object that belongs to a component but is not called as it.
    fn meta_of(&self, component: &str, name: &str) -> Value {
        json!({
            "name": name, "namespace": self.namespace,
            "labels": self.labels(component), "annotations": {FEDERATION_NAME: self.federation},
        })
    }

    fn labels(&self, component: &str) -> Value {
        json!({PART_OF: SYSTEM, COMPONENT: component})
    }

    pub(crate) fn namespace(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": self.namespace,
            // The load balancer shares its node's network, which stricter levels of pod security forbid.
            "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
            "annotations": {FEDERATION_NAME: self.federation},
        }})
    }

    pub(crate) fn service(&self) -> Value {
        let mut port =
            json!({"name": "https", "port": self.service_port(), "targetPort": SECURE_PORT, "protocol": "TCP"});
        if self.args.api_server_port != 0 {
            port["nodePort"] = json!(self.args.api_server_port);
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": self.meta(APISERVER), "spec": {
            "type": self.args.api_server_service_type.as_str(),
            "selector": self.labels(APISERVER),
            "ports": [port],
        }})
    }

    /// 443 where a load balancer serves it; behind node ports one that needs no privilege.
    pub(crate) fn service_port(&self) -> u16 {
        match self.args.api_server_service_type {
            ServiceType::LoadBalancer => 443,
            ServiceType::NodePort => SECURE_PORT,
        }
    }

    pub(crate) fn apiserver_secret(&self, authority: &Authority, server: &Pair, token: &str) -> Value {
        self.secret(
            APISERVER_CREDENTIALS,
            json!({
                "ca.crt": authority.certificate(),
                "server.crt": server.certificate,
                "server.key": server.key,
                "token.csv": format!("{token},admin,admin,system:masters\n"),
            }),
        )
    }

    pub(crate) fn secret(&self, name: &str, data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": self.meta(name), "stringData": data})
    }

    pub(crate) fn data_claim(&self) -> Option<Value> {
        if !self.args.etcd_servers.is_empty() || !self.args.persistent_storage {
            return None;
        }
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": self.args.storage_capacity}}});
        if let Some(class) = &self.args.storage_class {
            spec["storageClassName"] = json!(class);
        }
        Some(
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": self.meta(DATA_CLAIM), "spec": spec}),
        )
    }

    pub(crate) fn access(&self) -> Vec<Value> {
        let name = format!("federation-system:{CONTROLLER_ACCOUNT}");
        vec![
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.meta(CONTROLLER_ACCOUNT)}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": self.meta_of(CONTROLLER_MANAGER, &name),
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": self.meta_of(CONTROLLER_MANAGER, &name),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": CONTROLLER_ACCOUNT, "namespace": self.namespace}]}),
        ]
    }

    pub(crate) fn apiserver(&self) -> Value {
        let credentials = format!("{CONFIG_DIR}/apiserver");
        let mut arguments = vec![
            "apiserver".to_owned(),
            "--bind-address=$(POD_IP)".into(),
            format!("--secure-port={SECURE_PORT}"),
            format!("--data-dir={DATA_DIR}"),
            format!("--tls-cert-file={credentials}/server.crt"),
            format!("--tls-private-key-file={credentials}/server.key"),
            format!("--client-ca-file={credentials}/ca.crt"),
            format!("--token-auth-file={credentials}/token.csv"),
        ];
        if !self.args.etcd_servers.is_empty() {
            arguments.push(format!("--etcd-servers={}", self.args.etcd_servers.join(",")));
        }
        arguments.extend(self.args.apiserver_arg_overrides.iter().cloned());
        let data = match self.data_claim() {
            Some(_) => json!({"name": "data", "persistentVolumeClaim": {"claimName": DATA_CLAIM}}),
            None => json!({"name": "data", "emptyDir": {}}),
        };
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": SECURE_PORT, "scheme": "HTTPS"}, "periodSeconds": 5, "timeoutSeconds": 5});
        let container = json!({
            "name": APISERVER,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": security::container(Privilege::None),
            "ports": [{"name": "https", "containerPort": SECURE_PORT}],
            "readinessProbe": probe("/readyz"),
            "livenessProbe": {"httpGet": {"path": "/livez", "port": SECURE_PORT, "scheme": "HTTPS"},
                "initialDelaySeconds": 30, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
            "volumeMounts": [
                {"name": "credentials", "mountPath": credentials, "readOnly": true},
                {"name": "data", "mountPath": DATA_DIR},
            ],
        });
        let volumes = json!([{"name": "credentials", "secret": {"secretName": APISERVER_CREDENTIALS}}, data]);
        let pod = json!({"automountServiceAccountToken": false});
        self.deployment(APISERVER, container, arguments, volumes, pod)
    }

    pub(crate) fn controller_manager(&self) -> Value {
        let mut arguments = vec![
            "controller-manager".to_owned(),
            format!("--kubeconfig={CONFIG_DIR}/{CONTROLLER_MANAGER}/kubeconfig"),
            "--host-credentials-dir=/var/run/secrets/kubernetes.io/serviceaccount".into(),
            "--federation-system-namespace=$(POD_NAMESPACE)".into(),
            "--metrics-bind-address=$(POD_IP):10253".into(),
        ];
        arguments.extend(self.args.controllermanager_arg_overrides.iter().cloned());
        let container = json!({
            "name": CONTROLLER_MANAGER,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": security::container(Privilege::None),
            "ports": [{"name": "metrics", "containerPort": 10253}],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 10253}, "periodSeconds": 5},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": 10253}, "initialDelaySeconds": 30, "periodSeconds": 10},
            "volumeMounts": [{"name": "kubeconfig", "mountPath": format!("{CONFIG_DIR}/{CONTROLLER_MANAGER}"), "readOnly": true}],
        });
        let volumes =
            json!([{"name": "kubeconfig", "secret": {"secretName": format!("{CONTROLLER_MANAGER}-kubeconfig")}}]);
        self.deployment(
            CONTROLLER_MANAGER,
            container,
            arguments,
            volumes,
            json!({"serviceAccountName": CONTROLLER_ACCOUNT}),
        )
    }

    pub(crate) fn ingress(&self) -> Value {
        let args = self.args;
        let address = |port| format!("{}:{port}", args.ingress_bind_address);
        let mut arguments = vec![
            "lb".to_owned(),
            format!("--kubeconfig={CONFIG_DIR}/{INGRESS}/kubeconfig"),
            format!("--data-dir={DATA_DIR}"),
            format!("--http-bind-address={}", address(args.ingress_http_port)),
            format!("--https-bind-address={}", address(args.ingress_https_port)),
            format!("--metrics-bind-address=$(POD_IP):{}", args.ingress_metrics_port),
        ];
        let published = match args.ingress_http_port {
            _ if !args.ingress_publish_address.is_empty() => args.ingress_publish_address.join(","),
            80 => "$(POD_IP)".to_owned(),
            port => format!("$(POD_IP):{port}"),
        };
        arguments.push(format!("--publish-status-address={published}"));
        arguments.extend(args.ingress_arg_overrides.iter().cloned());
        let mut mounts = vec![
            json!({"name": "kubeconfig", "mountPath": format!("{CONFIG_DIR}/{INGRESS}"), "readOnly": true}),
            json!({"name": "data", "mountPath": DATA_DIR}),
        ];
        let mut volumes = vec![
            json!({"name": "kubeconfig", "secret": {"secretName": format!("{INGRESS}-kubeconfig")}}),
            // What the load balancer last knew, private keys included: it outlives the process, not the pod.
            json!({"name": "data", "emptyDir": {"medium": "Memory"}}),
        ];
        if let Some(files) = &args.ingress_files {
            mounts.push(json!({"name": "files", "mountPath": format!("{CONFIG_DIR}/files"), "readOnly": true}));
            volumes.push(files.volume("files"));
        }
        let ports = [
            args.ingress_http_port,
            args.ingress_https_port,
            args.ingress_metrics_port,
        ];
        let container = json!({
            "name": INGRESS,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "securityContext": security::container(Privilege::to_bind(&ports)),
            "ports": [
                {"name": "http", "containerPort": ports[0], "hostPort": ports[0]},
                {"name": "https", "containerPort": ports[1], "hostPort": ports[1]},
                {"name": "metrics", "containerPort": ports[2], "hostPort": ports[2]},
            ],
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": ports[2]}, "periodSeconds": 5},
            "livenessProbe": {"httpGet": {"path": "/livez", "port": ports[2]}, "initialDelaySeconds": 30, "periodSeconds": 10},
            "volumeMounts": mounts,
        });
        // The host's network: the load balancer must see its clients' own addresses.
        let pod = json!({
            "hostNetwork": true,
            "dnsPolicy": "ClusterFirstWithHostNet",
            "automountServiceAccountToken": false,
        });
        self.deployment(INGRESS, container, arguments, json!(volumes), pod)
    }

    fn deployment(
        &self,
        name: &str,
        mut container: Value,
        arguments: Vec<String>,
        volumes: Value,
        pod: Value,
    ) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        container["image"] = json!(self.args.image);
        container["imagePullPolicy"] = json!(self.args.image_pull_policy);
        container["args"] = json!(arguments);
        container["env"] = json!([
            field("POD_IP", "status.podIP"),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
        ]);
        let mut spec = json!({"containers": [container], "volumes": volumes, "securityContext": security::pod()});
        if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), pod) {
            spec.extend(extra);
        }
        if !self.args.image_pull_secrets.is_empty() {
            spec["imagePullSecrets"] = self
                .args
                .image_pull_secrets
                .iter()
                .map(|name| json!({"name": name}))
                .collect();
        }
        if !self.args.node_selector.is_empty() {
            spec["nodeSelector"] = self
                .args
                .node_selector
                .iter()
                .cloned()
                .map(|(k, v)| (k, json!(v)))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": self.meta(name), "spec": {
            "replicas": 1,
            // One process owns the data and the host ports: the old one goes before the new one comes.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": self.labels(name)},
            "template": {
                "metadata": {"labels": self.labels(name), "annotations": {FEDERATION_NAME: self.federation}},
                "spec": spec,
            },
        }})
    }
}

#[cfg(test)]
mod tests;
