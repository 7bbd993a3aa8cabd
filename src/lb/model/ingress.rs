//! Ingresses to routes.

use std::{collections::HashMap, sync::Arc};

use apimachinery::Object;
use traffic::route::{self, PathType, Rule};

use super::{
    Backend, CLASS, CONTROLLER, Certificate, Cluster, Config, Objects, OwnIngress, Problem, Settings, Target,
    annotations,
    backend::{self, Port, SliceIndex},
    clusters, json,
};

/// What the objects mean. Ingresses count from the oldest to the youngest: the first to claim a host and path keeps it.
pub fn build(objects: &Objects) -> Config {
    let clusters = clusters::clusters(objects);
    let mut builder = Builder {
        objects,
        slices: SliceIndex::new(objects),
        clusters: &clusters,
        routes: route::Builder::default(),
        targets: Vec::new(),
        backends: Vec::new(),
        by_key: HashMap::new(),
        certificates: Vec::new(),
        ingresses: Vec::new(),
    };
    for ingress in by_age(objects) {
        builder.ingress(ingress);
    }
    let Builder {
        routes,
        targets,
        backends,
        certificates,
        ingresses,
        ..
    } = builder;
    Config {
        routes: routes.build(),
        targets,
        backends,
        clusters,
        certificates,
        ingresses,
    }
}

fn by_age(objects: &Objects) -> Vec<&Object> {
    let mut ingresses: Vec<(&str, &String, &Object)> = objects
        .ingresses
        .iter()
        .filter(|(_, ingress)| is_ours(ingress, objects))
        .map(|(key, ingress)| {
            (
                json::text(ingress, "/metadata/creationTimestamp").unwrap_or_default(),
                key,
                &**ingress,
            )
        })
        .collect();
    ingresses.sort_by_key(|(created, key, _)| (*created, *key));
    ingresses.into_iter().map(|(.., ingress)| ingress).collect()
}

/// Whether an Ingress' class is ours: named, by an IngressClass with our controller, or by default.
pub fn is_ours(ingress: &Object, objects: &Objects) -> bool {
    let ours = |class: &Object| json::text(class, "/spec/controller") == Some(CONTROLLER);
    let named =
        json::text(ingress, "/spec/ingressClassName").or_else(|| json::annotation(ingress, annotations::INGRESS_CLASS));
    match named {
        Some(name) => objects.classes.get(name).map_or(name == CLASS, |class| ours(class)),
        None => {
            let default = objects
                .classes
                .values()
                .find(|class| json::annotation(class, annotations::DEFAULT_CLASS) == Some("true"));
            default.is_none_or(|class| ours(class))
        }
    }
}

struct Builder<'a> {
    objects: &'a Objects,
    slices: SliceIndex<'a>,
    clusters: &'a [Cluster],
    routes: route::Builder<usize>,
    targets: Vec<Target>,
    backends: Vec<Backend>,
    by_key: HashMap<Arc<str>, usize>,
    certificates: Vec<Certificate>,
    ingresses: Vec<OwnIngress>,
}

impl Builder<'_> {
    fn ingress(&mut self, ingress: &Object) {
        let namespace = json::text(ingress, "/metadata/namespace").unwrap_or_default();
        let key: Arc<str> = format!(
            "{namespace}/{}",
            json::text(ingress, "/metadata/name").unwrap_or_default()
        )
        .into();
        let mut problems = Vec::new();
        let rules = json::list(ingress, "/spec/rules");
        let default = ingress
            .pointer("/spec/defaultBackend")
            .map(|target| self.target(ingress, &key, target, &mut problems));
        for rule in rules {
            self.rule(ingress, &key, rule, &mut problems);
        }
        if let Some(default) = default {
            for host in rules.iter().filter_map(|rule| json::text(rule, "/host")) {
                self.routes.host_default(host, default);
            }
            self.routes.default_backend(default);
        }
        for tls in json::list(ingress, "/spec/tls") {
            self.tls(namespace, tls, &mut problems);
        }
        problems.sort();
        problems.dedup();
        self.ingresses.push(OwnIngress {
            key,
            uid: json::text(ingress, "/metadata/uid").unwrap_or_default().to_owned(),
            status: ingress
                .pointer("/status/loadBalancer/ingress")
                .cloned()
                .unwrap_or_default(),
            problems,
        });
    }

    fn rule(&mut self, ingress: &Object, key: &Arc<str>, rule: &Object, problems: &mut Vec<(&'static str, String)>) {
        let host = json::text(rule, "/host").unwrap_or_default();
        for path in json::list(rule, "/http/paths") {
            let Some(backend) = path.get("backend") else { continue };
            let target = self.target(ingress, key, backend, problems);
            let rule = Rule {
                host: host.to_owned(),
                path: json::text(path, "/path").unwrap_or_default().to_owned(),
                path_type: if json::text(path, "/pathType") == Some("Exact") {
                    PathType::Exact
                } else {
                    PathType::Prefix
                },
                target,
            };
            let shown = format!("host {host:?} and path {:?}", rule.path);
            if !self.routes.rule(rule) {
                problems.push((
                    "RouteConflict",
                    format!("{shown} already lead elsewhere; the oldest Ingress keeps them"),
                ));
            }
        }
    }

    /// The target of an Ingress backend, with its index.
    fn target(
        &mut self,
        ingress: &Object,
        key: &Arc<str>,
        backend: &Object,
        problems: &mut Vec<(&'static str, String)>,
    ) -> usize {
        let backend = self.backend(ingress, backend, problems);
        if let Some(problem) = &self.backends[backend].problem {
            problems.push((problem.reason(), explain(&self.backends[backend].key, problem)));
        }
        let ssl_redirect = json::annotation(ingress, annotations::SSL_REDIRECT) == Some("true");
        self.targets.push(Target {
            ingress: Arc::clone(key),
            backend,
            ssl_redirect,
        });
        self.targets.len() - 1
    }

    fn backend(&mut self, ingress: &Object, backend: &Object, problems: &mut Vec<(&'static str, String)>) -> usize {
        let namespace = json::text(ingress, "/metadata/namespace").unwrap_or_default();
        let Some(name) = json::text(backend, "/service/name") else {
            let key: Arc<str> = format!("{namespace}/<no service>").into();
            return self.intern(Arc::clone(&key), || Backend {
                service: Arc::clone(&key),
                key,
                problem: Some(Problem::NotAService),
                settings: Settings::default(),
                members: Vec::new(),
            });
        };
        let port = match backend
            .pointer("/service/port/number")
            .and_then(Object::as_u64)
            .and_then(|port| u16::try_from(port).ok())
        {
            Some(number) => Port::Number(number),
            None => Port::Name(json::text(backend, "/service/port/name").unwrap_or_default().to_owned()),
        };
        let service_key = format!("{namespace}/{name}");
        let service = self.objects.services.get(&service_key).map(|service| &**service);
        let service_port = service.and_then(|service| backend::find_port(service, &port));
        let settings = annotations::settings(ingress, service, service_port, |wrong| {
            problems.push(("InvalidAnnotation", wrong));
        });
        let mut key = format!("{service_key}:{port}");
        let plain = annotations::settings(&Object::Null, service, service_port, |_| {});
        if settings != plain {
            // Another Ingress may serve the same port with other settings.
            key += &format!(" of {}", json::text(ingress, "/metadata/name").unwrap_or_default());
        }
        let key: Arc<str> = key.into();
        let (slices, clusters) = (&self.slices, self.clusters);
        let built = backend::backend(
            Arc::clone(&key),
            &service_key,
            service,
            &port,
            settings,
            slices,
            clusters,
        );
        self.intern(key, || built)
    }

    fn intern(&mut self, key: Arc<str>, backend: impl FnOnce() -> Backend) -> usize {
        *self.by_key.entry(key).or_insert_with(|| {
            self.backends.push(backend());
            self.backends.len() - 1
        })
    }

    fn tls(&mut self, namespace: &str, tls: &Object, problems: &mut Vec<(&'static str, String)>) {
        let Some(name) = json::text(tls, "/secretName").filter(|name| !name.is_empty()) else {
            return;
        };
        let key = format!("{namespace}/{name}");
        let Some(secret) = self.objects.secrets.get(&key) else {
            problems.push((
                "SecretNotFound",
                format!("TLS secret {key} does not exist or is not of type kubernetes.io/tls"),
            ));
            return;
        };
        let data = |field: &str| {
            secret
                .get("data")
                .and_then(|data| data.get(field))
                .and_then(Object::as_str)
                .and_then(decode_base64)
        };
        match (data("tls.crt"), data("tls.key")) {
            (Some(chain), Some(private_key)) => {
                let hosts = json::list(tls, "/hosts")
                    .iter()
                    .filter_map(Object::as_str)
                    .map(str::to_ascii_lowercase)
                    .collect();
                self.certificates.push(Certificate {
                    secret: key,
                    hosts,
                    chain,
                    key: private_key,
                });
            }
            _ => problems.push(("InvalidSecret", format!("TLS secret {key} lacks tls.crt or tls.key"))),
        }
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// What clients and owners are told of a backend that cannot be served.
pub(crate) fn explain(key: &str, problem: &Problem) -> String {
    match problem {
        Problem::ServiceNotFound => format!("service {key} does not exist in the federation"),
        Problem::PortNotFound => format!("service {key} has no such port"),
        Problem::NotAService => "the Ingress' backend is no Service; resource backends are not supported".to_owned(),
    }
}
