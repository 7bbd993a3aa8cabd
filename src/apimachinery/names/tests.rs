use super::*;

fn fine(check: fn(&str) -> Vec<String>, texts: &[&str]) {
    for text in texts {
        assert_eq!(check(text), Vec::<String>::new(), "{text:?}");
    }
}

fn wrong(check: fn(&str) -> Vec<String>, texts: &[&str]) {
    for text in texts {
        assert!(!check(text).is_empty(), "{text:?}");
    }
}

#[test]
fn labels_and_subdomains() {
    fine(dns1123_label, &["a", "1", "a-b", "0a"]);
    wrong(dns1123_label, &["", "-", "a-", "-a", "A", "a_b", "é", &"a".repeat(64)]);
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    fine(dns1123_subdomain, &["a", "a.b", "1.2", "a-b.c"]);
    wrong(
        dns1123_subdomain,
        &["", ".", "a.", ".a", "a..b", "a.-b", "A.b", &"a".repeat(254)],
    );
    fine(dns1035_label, &["a", "a1"]);
    wrong(dns1035_label, &["1a", "", "a-"]);
    fine(wildcard_dns1123_subdomain, &["*.a", "*.a.b"]);
    wrong(wildcard_dns1123_subdomain, &["*", "*.", "a.*.b", "**.a", "a"]);
}

#[test]
fn length_comes_before_form() {
    let errors = dns1123_subdomain(&format!("{}_", "a".repeat(253)));
    assert_eq!(errors[0], "must be no more than 253 characters");
    assert_eq!(errors.len(), 2);
}

#[test]
fn label_keys_have_an_optional_prefix() {
    fine(qualified_name, &["a", "A_b.c-1", "example.com/a", "1.2.3.4/5"]);
    wrong(
        qualified_name,
        &[
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "_a",
            "a_",
            "A.com/x",
            "a b",
            &format!("x/{}", "a".repeat(64)),
        ],
    );
    assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
    assert_eq!(qualified_name("a/").len(), 2);
    assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"));
}

#[test]
fn label_values_may_be_empty() {
    fine(label_value, &["", "a", "A_b.c-1"]);
    wrong(label_value, &["-a", "a-", "a b", "a/b", &"a".repeat(64)]);
}

#[test]
fn path_segments() {
    fine(path_segment_name, &["system:admin", "a b", "..."]);
    assert_eq!(path_segment_name(".."), ["may not be '..'"]);
    assert_eq!(
        path_segment_name("a/b%c"),
        ["may not contain '/'", "may not contain '%'"]
    );
}

#[test]
fn generated_names_may_end_in_a_dash() {
    assert!(generate_name("web-", dns1123_label).is_empty());
    assert!(!generate_name("é-", dns1123_label).is_empty());
    assert!(generate_name("a--", dns1123_label).is_empty());
    assert!(!generate_name("-", dns1123_label).is_empty());
    assert!(!generate_name("Web-", dns1123_label).is_empty());
}

#[test]
fn ports() {
    fine(port_name, &["http", "a1", "1a", "a-b"]);
    wrong(port_name, &["", "1", "a--b", "-a", "A", "a_b", "abcdefghijklmnop"]);
    assert!(port_number(0).len() == 1 && port_number(65_536).len() == 1 && port_number(80).is_empty());
}

#[test]
fn small_formats() {
    fine(percent, &["1%", "100%", "007%"]);
    wrong(percent, &["", "%", "1", "1.5%", "-1%"]);
    fine(env_var_name, &["A", "a.b-c", "1", "a b"]);
    wrong(env_var_name, &["", "a=b", "é", "a\n"]);
    fine(config_map_key, &["a", ".a", "A_b-c.d"]);
    wrong(config_map_key, &["", "a/b", ".", "..", "..a", "a b"]);
    fine(c_identifier, &["_a", "A1"]);
    wrong(c_identifier, &["", "1a", "a-b"]);
    fine(http_header_name, &["X-A1"]);
    wrong(http_header_name, &["", "a_b"]);
}

#[test]
fn addresses() {
    fine(ip, &["10.0.0.1", "2001:db8::1"]);
    wrong(
        ip,
        &["", "10.0.0", "10.0.0.256", "010.0.0.1", "2001:DB8::1", "::ffff:1.2.3.4"],
    );
    fine(ip_legacy, &["010.0.0.1", "::ffff:1.2.3.4"]);
    fine(cidr, &["10.0.0.0/8", "::/0", "10.0.0.1/32"]);
    wrong(
        cidr,
        &[
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::/129",
        ],
    );
}
