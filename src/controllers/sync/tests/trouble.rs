//! Members that are silent, refuse, throttle, or have lost what they had.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_member_delays_nobody_else() {
    let federation = Federation::new(&["eu", "us"]);
    let _manager = federation.manage().await;
    federation.clusters["eu"].trouble(Some(("configmaps", Trouble::Silent)));
    federation.api.put(CONFIG_MAP, config_map());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(federation.clusters["us"].get(CONFIG_MAP).is_some());
    federation.clusters["eu"].trouble(None);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(federation.clusters["eu"].get(CONFIG_MAP).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_refuses_or_throttles_is_tried_again() {
    for trouble in [Trouble::Status(429), Trouble::Status(500), Trouble::Refused] {
        let federation = Federation::new(&["us"]);
        let _manager = federation.manage().await;
        federation.clusters["us"].trouble(Some(("configmaps", trouble)));
        federation.api.put(CONFIG_MAP, config_map());
        tokio::time::sleep(Duration::from_secs(30)).await;
        federation.clusters["us"].trouble(None);
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert!(federation.clusters["us"].get(CONFIG_MAP).is_some(), "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_trouble_of_one_member_delays_another() {
    let path = |i: usize| format!("/api/v1/namespaces/default/configmaps/c{i}");
    for trouble in [
        Trouble::Status(429),
        Trouble::Status(503),
        Trouble::Refused,
        Trouble::Silent,
    ] {
        let federation = Federation::new(&["eu", "us"]);
        let _manager = federation.manage().await;
        federation.clusters["eu"].trouble(Some(("configmaps", trouble)));
        for i in 0..50 {
            federation.api.put(&path(i), config_map());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let there = |cluster: &str| {
            (0..50)
                .filter(|i| federation.clusters[cluster].get(&path(*i)).is_some())
                .count()
        };
        assert_eq!((there("us"), there("eu")), (50, 0), "{trouble:?}");
        federation.clusters["eu"].trouble(None);
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(there("eu"), 50, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lost_its_data_gets_everything_again() {
    let federation = Federation::new(&["eu", "us"]);
    let manager = federation.manage().await;
    federation.api.put(CONFIG_MAP, config_map());
    federation.api.put(DEPLOYMENT, deployment(4));
    settle().await;
    federation.clusters.values().for_each(run_all);
    settle().await;
    federation
        .api
        .edit(CONFIG_MAP, |object| object["data"]["k"] = json!("w"));
    settle().await;
    federation.writes();
    let eu = &federation.clusters["eu"];
    eu.trouble(Some(("", Trouble::Refused)));
    eu.lose_everything();
    manager.set(
        "eu",
        Availability::Unreachable {
            since: Timestamp::now(),
        },
    );
    settle().await;
    eu.trouble(None);
    manager.set("eu", Availability::Ready);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(eu.get(CONFIG_MAP).is_some());
    assert_eq!(replicas(eu), Some(2));
    assert_eq!(federation.writes().get("us"), None, "nothing happens to the others");
}
