use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/kubefed")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// FNV-1a over the chart's files: says whether they are those that `rendered.yaml` was made of.
fn digest_of_chart() -> String {
    let templates = std::fs::read_dir(chart().join("templates")).expect("templates");
    let mut files: Vec<_> = templates.map(|entry| entry.expect("a file").path()).collect();
    files.extend(["Chart.yaml", "values.yaml"].map(|name| chart().join(name)));
    files.sort();
    let text: String = files.iter().map(|file| read(file)).collect();
    let digest = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{digest:016x}")
}

/// What Helm made of the chart, credentials left out: `scripts/render-chart.sh` writes the file.
fn rendered(variant: &str) -> (String, Vec<Value>) {
    let text = read(&chart().join(format!("rendered/{variant}.yaml")));
    let digest = text.lines().next().and_then(|line| line.strip_prefix("# digest: "));
    let digest = digest.expect("a digest in the first line").to_owned();
    let objects = serde_saphyr::from_multiple(&text).expect("manifests");
    (digest, objects)
}

/// By kind and name, without what only one of the two tools needs.
fn comparable(objects: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let one = |mut object: Value| {
        let metadata = object["metadata"].as_object_mut().expect("metadata");
        metadata.remove("namespace");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("helm.sh/resource-policy");
        }
        let key = format!("{} {}", object["kind"], object["metadata"]["name"]);
        (key, object)
    };
    objects.into_iter().map(one).collect()
}

fn written(args: &InitArgs) -> Vec<Value> {
    let plane = Plane {
        federation: &args.name,
        namespace: "federation-system",
        args,
    };
    let storage = plane.data_claim();
    let pods = [plane.apiserver(), plane.controller_manager(), plane.ingress()];
    let objects = [plane.service()].into_iter().chain(storage);
    objects.chain(plane.access()).chain(pods).collect()
}

fn named(federation: &str) -> InitArgs {
    let mut args = InitArgs::named(federation).expect("a name");
    args.image = "registry.example/federation:v1".into();
    args
}

#[track_caller]
fn assert_same(variant: &str, args: &InitArgs) {
    let (digest, objects) = rendered(variant);
    assert_eq!(
        digest,
        digest_of_chart(),
        "the chart has changed since it was rendered: run scripts/render-chart.sh"
    );
    let (chart, init) = (comparable(objects), comparable(written(args)));
    assert_eq!(
        chart.keys().collect::<Vec<_>>(),
        init.keys().collect::<Vec<_>>(),
        "the chart's and init's objects"
    );
    for (key, object) in chart {
        assert_eq!(object, init[&key], "the chart's and init's {key}");
    }
}

#[test]
fn chart_and_init_write_the_same_objects_by_default() {
    assert_same("default", &named("federation"));
}

#[test]
fn chart_and_init_write_the_same_objects_for_every_option_that_both_have() {
    let mut args = named("planet");
    args.api_server_service_type = ServiceType::NodePort;
    args.api_server_port = 31443;
    args.image_pull_policy = "Always".into();
    args.image_pull_secrets = vec!["pull".into()];
    args.node_selector = vec![("pool".into(), "edge".into())];
    args.etcd_servers = vec!["https://a:2379".into(), "https://b:2379".into()];
    args.apiserver_arg_overrides = vec!["--v=3".into()];
    args.controllermanager_arg_overrides = vec!["--cluster-monitor-period=5s".into()];
    args.ingress_arg_overrides = vec!["--geoip-database=/etc/federation/files/city.mmdb".into()];
    args.ingress_bind_address = "192.0.2.1".into();
    args.ingress_http_port = 8080;
    args.ingress_https_port = 8444;
    args.ingress_metrics_port = 10299;
    args.ingress_publish_address = vec!["192.0.2.1:8080".into(), "lb.example".into()];
    args.ingress_files = Some("/srv/geo".parse().expect("a directory"));
    assert_same("options", &args);
}

#[test]
fn the_load_balancer_publishes_its_nodes_address_unless_told_otherwise() {
    let published = |args: &InitArgs| -> String {
        let objects = comparable(written(args));
        let arguments = &objects[r#""Deployment" "ingress""#]["spec"]["template"]["spec"]["containers"][0]["args"];
        let of_interest = arguments.as_array().expect("args").iter().filter_map(Value::as_str);
        let mut values = of_interest.filter_map(|a| a.strip_prefix("--publish-status-address="));
        values.next().expect("an address").to_owned()
    };
    let mut args = named("federation");
    assert_eq!(published(&args), "$(POD_IP)");
    args.ingress_http_port = 8080;
    assert_eq!(published(&args), "$(POD_IP):8080");
    args.ingress_publish_address = vec!["lb.example".into()];
    assert_eq!(published(&args), "lb.example");
}

#[test]
fn every_volume_that_is_mounted_exists() {
    for object in written(&named("federation")) {
        let pod = &object["spec"]["template"]["spec"];
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_array().cloned().unwrap_or_default();
            list.iter().map(|item| item["name"].to_string()).collect()
        };
        let mut mounted = names(&pod["containers"][0]["volumeMounts"]);
        let mut volumes = names(&pod["volumes"]);
        mounted.sort();
        volumes.sort();
        assert_eq!(mounted, volumes, "{}", object["metadata"]["name"]);
    }
}
