//! The journeys of the README, from outside, with real kubectl: on miniclusters, and on real Kubernetes when its
//! binaries are at hand ([`on_real_kubernetes`]).

use std::time::Duration;

use e2e::{CLUSTERS, Federation, Kubernetes, eventually};

const HELLO: &str = concat!(
    include_str!("../../manifests/hello/replicaset.yaml"),
    "---\n",
    include_str!("../../manifests/hello/service.yaml"),
    "---\n",
    include_str!("../../manifests/hello/ingress.yaml"),
);

/// A client near each of the clusters.
const CLIENTS: [(&str, &str); 3] = [
    ("127.1.0.1", CLUSTERS[0]),
    ("127.2.0.1", CLUSTERS[1]),
    ("127.3.0.1", CLUSTERS[2]),
];

fn served_by(federation: &Federation, source: &str, cluster: &str) {
    eventually(
        &format!("{source} is served by {cluster}"),
        Duration::from_secs(60),
        || match federation.visit(source, "example.com", "/") {
            Ok(answer) if answer.status == 200 && answer.tells("cluster") == Some(cluster) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
}

#[test]
fn replicas_are_split_and_the_nearest_cluster_answers() {
    let federation = Federation::start();
    federation.create(HELLO);
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    for cluster in CLUSTERS {
        federation.await_value(cluster, "rs/hello", "{.spec.replicas}/{.status.readyReplicas}", "3/3");
    }
    for (source, cluster) in CLIENTS {
        served_by(&federation, source, cluster);
    }
    let answer = federation.visit("127.1.0.1", "example.com", "/").unwrap();
    for key in ["pod", "node", "zone", "region", "cluster"] {
        assert!(
            answer.tells(key).is_some(),
            "the pod does not tell its {key}: {}",
            answer.body
        );
    }

    let _ = federation
        .kubectl("federation", &["scale", "rs/hello", "--replicas=12"])
        .expect();
    for cluster in CLUSTERS {
        federation.await_value(cluster, "rs/hello", "{.status.readyReplicas}", "4");
    }
    federation.await_value("federation", "rs/hello", "{.status.replicas}", "12");

    // Drift in a member is repaired.
    let _ = federation
        .kubectl(CLUSTERS[1], &["scale", "rs/hello", "--replicas=1"])
        .expect();
    federation.await_value(
        CLUSTERS[1],
        "rs/hello",
        "{.spec.replicas}/{.status.readyReplicas}",
        "4/4",
    );
    let _ = federation.kubectl(CLUSTERS[2], &["delete", "rs/hello"]).expect();
    federation.await_value(CLUSTERS[2], "rs/hello", "{.status.readyReplicas}", "4");
}

#[test]
fn a_lost_cluster_is_replaced_and_gets_its_share_back() {
    let federation = Federation::start();
    federation.create(HELLO);
    for (source, cluster) in CLIENTS {
        served_by(&federation, source, cluster);
    }
    federation.kill(CLUSTERS[1]);
    eventually(
        "another cluster answers in Europe's place",
        Duration::from_secs(2),
        || match federation.visit("127.2.0.1", "example.com", "/") {
            Ok(answer) if answer.status == 200 && answer.tells("cluster") != Some(CLUSTERS[1]) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    for _ in 0..50 {
        let answer = federation.visit("127.2.0.1", "example.com", "/").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    eventually("nine replicas run in the other two", Duration::from_secs(60), || {
        let ready = [CLUSTERS[0], CLUSTERS[2]].map(|cluster| {
            let path = "jsonpath={.status.readyReplicas}";
            federation
                .kubectl(cluster, &["get", "rs/hello", "-o", path])
                .stdout
                .parse::<i64>()
                .unwrap_or(0)
        });
        if ready.iter().sum::<i64>() == 9 {
            Ok(())
        } else {
            Err(format!("{ready:?}"))
        }
    });
    let _ = federation.up(&CLUSTERS).expect();
    for cluster in CLUSTERS {
        federation.await_value(cluster, "rs/hello", "{.spec.replicas}/{.status.readyReplicas}", "3/3");
    }
    served_by(&federation, "127.2.0.1", CLUSTERS[1]);
}

#[test]
fn a_drained_cluster_serves_nobody_is_empty_and_gets_its_share_back() {
    let federation = Federation::start();
    federation.create(HELLO);
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    served_by(&federation, "127.2.0.1", CLUSTERS[1]);
    let told = federation
        .kubefed(&["drain", CLUSTERS[1], "--context=federation", "--grace-period=1"])
        .expect();
    assert!(told.contains("is empty"), "{told}");
    federation.await_value(CLUSTERS[1], "rs/hello", "{.spec.replicas}", "0");
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    for _ in 0..20 {
        let answer = federation.visit("127.2.0.1", "example.com", "/").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.tells("cluster"), Some(CLUSTERS[1]));
    }
    let _ = federation
        .kubefed(&["uncordon", CLUSTERS[1], "--context=federation"])
        .expect();
    for cluster in CLUSTERS {
        federation.await_value(cluster, "rs/hello", "{.spec.replicas}/{.status.readyReplicas}", "3/3");
    }
    served_by(&federation, "127.2.0.1", CLUSTERS[1]);
}

#[test]
fn deployments_daemonsets_and_configmaps_are_copied_updated_and_deleted() {
    let federation = Federation::start();
    federation.create(include_str!("../../manifests/hello/extras.yaml"));
    let rollout = ["rollout", "status", "deployment/shop", "--timeout=60s"];
    let _ = federation.kubectl("federation", &rollout).expect();
    for cluster in CLUSTERS {
        federation.await_value(cluster, "deploy/shop", "{.status.readyReplicas}", "3");
        federation.await_value(cluster, "ds/agent", "{.status.numberReady}", "3");
        federation.await_value(cluster, "cm/greeting", "{.data.text}", "hello");
    }
    let _ = federation
        .kubectl("federation", &["set", "image", "deployment/shop", "web=nginx:1.29"])
        .expect();
    let _ = federation.kubectl("federation", &rollout).expect();
    for cluster in CLUSTERS {
        federation.await_value(
            cluster,
            "deploy/shop",
            "{.spec.template.spec.containers[0].image}",
            "nginx:1.29",
        );
        federation.await_value(
            cluster,
            "deploy/shop",
            "{.status.updatedReplicas}/{.status.readyReplicas}",
            "3/3",
        );
    }
    let _ = federation
        .kubectl("federation", &["delete", "deployment/shop", "ds/agent"])
        .expect();
    for cluster in CLUSTERS {
        federation.await_gone(cluster, "deploy/shop");
        federation.await_gone(cluster, "ds/agent");
    }
    let _ = federation
        .kubectl("federation", &["delete", "cm/greeting", "--cascade=orphan"])
        .expect();
    federation.await_gone("federation", "cm/greeting");
    for cluster in CLUSTERS {
        federation.await_value(cluster, "cm/greeting", "{.data.text}", "hello");
    }
}

#[test]
fn nothing_is_lost_when_every_process_is_killed() {
    let federation = Federation::start();
    federation.create(HELLO);
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    let addresses = |cluster| {
        let path = "jsonpath={range .items[*]}{.metadata.name}={.status.podIP} {end}";
        federation.kubectl(cluster, &["get", "pods", "-o", path]).expect()
    };
    let before = CLUSTERS.map(addresses);
    for cluster in CLUSTERS {
        federation.kill(cluster);
    }
    let _ = federation.up(&CLUSTERS).expect();
    federation.await_value(
        "federation",
        "rs/hello",
        "{.spec.replicas}/{.status.readyReplicas}",
        "9/9",
    );
    for (source, cluster) in CLIENTS {
        federation.await_value(cluster, "rs/hello", "{.spec.replicas}/{.status.readyReplicas}", "3/3");
        served_by(&federation, source, cluster);
    }
    assert_eq!(CLUSTERS.map(addresses), before, "pods keep their names and addresses");
}

#[test]
fn nodes_come_and_go_with_kubectl() {
    let federation = Federation::start();
    federation.create(HELLO);
    let cluster = CLUSTERS[1];
    federation.await_value(cluster, "rs/hello", "{.status.readyReplicas}", "3");
    let manifest = federation.dir().join("node.yaml");
    let text = "apiVersion: v1\nkind: Node\nmetadata: {name: extra, labels: {minicluster.kubefed.io/node: \"\"}}\n";
    std::fs::write(&manifest, text).unwrap();
    let kubectl = |words: &[&str]| federation.kubectl(cluster, words).expect();
    let _ = kubectl(&["apply", "-f", &manifest.to_string_lossy()]);
    let _ = kubectl(&["wait", "--for=condition=Ready", "node/extra", "--timeout=60s"]);
    for index in 1..=3 {
        let node = format!("{cluster}-node-{index}");
        let _ = kubectl(&["drain", &node, "--ignore-daemonsets", "--force", "--timeout=60s"]);
    }
    let _ = kubectl(&["delete", "node", &format!("{cluster}-node-1")]);
    eventually("every pod on the new node", Duration::from_secs(60), || {
        let nodes = kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
        if nodes == "extra extra extra" {
            Ok(())
        } else {
            Err(nodes)
        }
    });
    federation.await_value(cluster, "rs/hello", "{.status.readyReplicas}", "3");
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    served_by(&federation, "127.2.0.1", cluster);
}

#[test]
fn a_cluster_leaves_with_its_workloads_running_unless_told_otherwise() {
    let federation = Federation::start();
    federation.create(HELLO);
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    let host = format!("--host-cluster-context={}", CLUSTERS[0]);
    let _ = federation.kubefed(&["unjoin", CLUSTERS[2], &host]).expect();
    federation.await_gone("federation", &format!("cluster/{}", CLUSTERS[2]));
    federation.await_value(CLUSTERS[2], "rs/hello", "{.status.readyReplicas}", "3");
    federation.await_value("federation", "rs/hello", "{.status.readyReplicas}", "9");
    let _ = federation
        .kubefed(&["unjoin", CLUSTERS[1], &host, "--cascade"])
        .expect();
    federation.await_gone(CLUSTERS[1], "rs/hello");
}

#[test]
#[ignore = "takes minutes, as root, with the envtest binaries: make test-real"]
fn on_real_kubernetes() {
    if Kubernetes::of_this_run() == Kubernetes::Real {
        return;
    }
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").unwrap_or_else(|| "/usr/local/kubebuilder/bin".into());
    let missing = ["etcd", "kube-apiserver", "kube-controller-manager"]
        .into_iter()
        .find(|name| !std::path::Path::new(&assets).join(name).exists());
    let namespace = std::process::Command::new("unshare").args(["--net", "true"]).status();
    if missing.is_some() || !namespace.is_ok_and(|status| status.success()) {
        println!("skipped: real Kubernetes needs the envtest binaries and the right to make a network namespace");
        return;
    }
    let status = std::process::Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "--nocapture"])
        .env("KUBEFED_E2E_KUBERNETES", "real")
        .status()
        .unwrap();
    assert!(status.success(), "the journeys failed on real Kubernetes");
}
