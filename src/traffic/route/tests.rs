//! The rows of the Ingress specification, and of the conformance scenarios that exercise them.

use super::*;
use proptest::prelude::*;

/// `E/foo` is an exact path, `P/foo` a prefix; the target is the row itself, `D` the default backend.
fn routes(rows: &[&str]) -> Routes<String> {
    let mut builder = Builder::default();
    for row in rows {
        let (kind, path) = row.split_at(1);
        let path_type = if kind == "E" { PathType::Exact } else { PathType::Prefix };
        builder.rule(Rule {
            host: String::new(),
            path: path.to_owned(),
            path_type,
            target: (*row).to_owned(),
        });
    }
    builder.default_backend("D".to_owned());
    builder.build()
}

#[track_caller]
fn check(rows: &[&str], path: &str, expected: &str) {
    assert_eq!(
        routes(rows).find("any.example", path).map(String::as_str),
        Some(expected),
        "{rows:?} {path}"
    );
}

#[test]
fn paths_match_as_the_ingress_page_says() {
    check(&["P/"], "/x/y", "P/");
    check(&["P/"], "/", "P/");
    check(&["E/foo"], "/foo", "E/foo");
    check(&["E/foo"], "/bar", "D");
    check(&["E/foo"], "/foo/", "D");
    check(&["E/foo/"], "/foo", "D");
    check(&["P/foo"], "/foo", "P/foo");
    check(&["P/foo"], "/foo/", "P/foo");
    check(&["P/foo/"], "/foo", "P/foo/");
    check(&["P/foo/"], "/foo/", "P/foo/");
    check(&["P/aaa/bb"], "/aaa/bbb", "D");
    check(&["P/aaa/bbb"], "/aaa/bbb", "P/aaa/bbb");
    check(&["P/aaa/bbb/"], "/aaa/bbb", "P/aaa/bbb/");
    check(&["P/aaa/bbb"], "/aaa/bbb/", "P/aaa/bbb");
    check(&["P/aaa/bbb"], "/aaa/bbb/ccc", "P/aaa/bbb");
    check(&["P/aaa/bbb"], "/aaa/bbbxyz", "D");
    check(&["P/", "P/aaa"], "/aaa/ccc", "P/aaa");
    check(&["P/", "P/aaa", "P/aaa/bbb"], "/aaa/bbb", "P/aaa/bbb");
    check(&["P/", "P/aaa", "P/aaa/bbb"], "/ccc", "P/");
    check(&["P/aaa"], "/ccc", "D");
    check(&["P/foo", "E/foo"], "/foo", "E/foo");
    check(&["E/foo", "P/foo"], "/foo/bar", "P/foo");
}

#[test]
fn matching_is_case_sensitive_and_decodes_nothing() {
    check(&["P/foo"], "/FOO", "D");
    check(&["E/foo"], "/Foo", "D");
    check(&["P/a/b"], "/a%2Fb", "D");
    check(&["P/foo"], "//foo", "D");
    check(&["P/foo"], "/%66oo", "D");
}

fn hosts(names: &[&str]) -> Routes<String> {
    let mut builder = Builder::default();
    for name in names {
        builder.rule(Rule {
            host: (*name).to_owned(),
            path: "/".to_owned(),
            path_type: PathType::Prefix,
            target: (*name).to_owned(),
        });
    }
    builder.build()
}

#[test]
fn a_wildcard_is_one_label() {
    let routes = hosts(&["*.foo.com"]);
    assert_eq!(routes.find("bar.foo.com", "/").map(String::as_str), Some("*.foo.com"));
    assert_eq!(routes.find("baz.bar.foo.com", "/"), None);
    assert_eq!(routes.find("foo.com", "/"), None);
    assert_eq!(routes.find(".foo.com", "/"), None);
}

#[test]
fn the_exact_host_wins_in_any_case_and_with_a_port() {
    let routes = hosts(&["*.bar.com", "foo.bar.com", ""]);
    let find = |host: &str| routes.find(&normalize_host(host).expect("a host"), "/").cloned();
    assert_eq!(find("FOO.bar.com:8080").as_deref(), Some("foo.bar.com"));
    assert_eq!(find("foo.bar.com.").as_deref(), Some("foo.bar.com"));
    assert_eq!(find("other.bar.com").as_deref(), Some("*.bar.com"));
    assert_eq!(find("elsewhere.org").as_deref(), Some(""));
}

#[test]
fn the_most_specific_host_decides_alone() {
    let mut builder = Builder::default();
    let mut rule = |host: &str, path: &str| {
        builder.rule(Rule {
            host: host.to_owned(),
            path: path.to_owned(),
            path_type: PathType::Prefix,
            target: format!("{host}{path}"),
        });
    };
    rule("foo.bar.com", "/a");
    rule("*.bar.com", "/");
    builder.host_default("other.com", "of the host".to_owned());
    builder.rule(Rule {
        host: "other.com".to_owned(),
        path: "/x".to_owned(),
        path_type: PathType::Exact,
        target: "x".to_owned(),
    });
    let routes = builder.build();
    assert_eq!(routes.find("foo.bar.com", "/b"), None);
    assert_eq!(routes.find("other.com", "/y").map(String::as_str), Some("of the host"));
}

#[test]
fn the_first_of_two_equal_rules_stays() {
    let mut builder = Builder::default();
    let rule = |target: u8| Rule {
        host: "a.com".to_owned(),
        path: "/x".to_owned(),
        path_type: PathType::Prefix,
        target,
    };
    assert!(builder.rule(rule(1)));
    assert!(!builder.rule(rule(2)));
    assert_eq!(builder.build().find("a.com", "/x/y"), Some(&1));
}

#[test]
fn hosts_that_are_none_are_refused() {
    for host in [
        "",
        ".",
        "a b",
        "a/b",
        "a.com:x",
        "a.com:99999",
        "[::1",
        "[x]",
        "a@b",
        "a.com:80:80",
        "ex\u{e4}mple",
    ] {
        assert!(normalize_host(host).is_none(), "{host:?}");
    }
    assert_eq!(normalize_host("[::1]:80").as_deref(), Some("[::1]"));
    assert_eq!(normalize_host("a.com:").as_deref(), Some("a.com"));
}

#[test]
fn a_path_that_climbs_out_of_the_root_is_recognised() {
    for path in [
        "/..",
        "/../x",
        "/a/../..",
        "/a/../../b",
        "/%2e%2e/x",
        "/.%2E/x",
        "/a/%2E./../x",
    ] {
        assert!(escapes_root(path), "{path}");
    }
    for path in [
        "/",
        "/a/..",
        "/a/../b",
        "/...",
        "/a/..b/../c",
        "/.",
        "/a//../b",
        "/%2e/x",
        "/..a",
    ] {
        assert!(!escapes_root(path), "{path}");
    }
    assert!(has_encoded_nul("/a%00b") && !has_encoded_nul("/a%01b"));
}

proptest! {
    #[test]
    fn the_trie_agrees_with_the_definition(
        prefixes in prop::collection::vec("(/[ab]{1,2}){0,3}/?", 1..6),
        path in "(/[ab]{1,2}){0,4}/?",
    ) {
        let mut builder = Builder::default();
        for prefix in &prefixes {
            builder.rule(Rule { host: String::new(), path: prefix.clone(), path_type: PathType::Prefix, target: prefix.trim_end_matches('/').to_owned() });
        }
        let path = if path.is_empty() { "/".to_owned() } else { path };
        let matches = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/")) || prefix.is_empty();
        let expected = prefixes.iter().map(|prefix| prefix.trim_end_matches('/')).filter(|prefix| matches(prefix)).max_by_key(|prefix| prefix.len());
        let routes = builder.build();
        prop_assert_eq!(routes.find("x", &path).map(String::as_str), expected);
    }

    #[test]
    fn any_bytes_are_survived(host in ".{0,40}", path in ".{0,80}") {
        let routes = hosts(&["*.a.com", "a.com"]);
        if let Some(host) = normalize_host(&host) {
            routes.find(&host, &path);
        }
        escapes_root(&path);
    }
}
