use std::os::unix::fs::PermissionsExt;

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_second_start_uses_the_same_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let sans = names(&["localhost", "127.0.0.1", "::1"]);
    let first = Authority::open(dir.path(), "test-ca").unwrap();
    let (serving, admin) = (
        first.serving("apiserver", &sans).unwrap(),
        first.client("admin", "admin", "a").unwrap(),
    );
    let second = Authority::open(dir.path(), "test-ca").unwrap();
    assert_eq!(second.cert_pem(), first.cert_pem());
    assert_eq!(second.serving("apiserver", &sans).unwrap(), serving);
    assert_eq!(second.client("admin", "admin", "a").unwrap(), admin);
}

#[test]
fn changed_names_or_a_new_authority_issue_again() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), "test-ca").unwrap();
    let first = authority.serving("apiserver", &names(&["localhost"])).unwrap();
    let second = authority
        .serving("apiserver", &names(&["localhost", "10.0.0.1"]))
        .unwrap();
    assert_ne!(first, second);
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    let replaced = Authority::open(dir.path(), "test-ca").unwrap();
    assert_ne!(replaced.cert_pem(), authority.cert_pem());
    assert_ne!(
        replaced
            .serving("apiserver", &names(&["localhost", "10.0.0.1"]))
            .unwrap(),
        second
    );
}

#[test]
fn a_client_certificate_carries_user_and_groups() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), "test-ca").unwrap();
    let identity = authority.client("admin", "kubernetes-admin", "system:masters").unwrap();
    let (user, found) = with_cert(&identity.cert_pem, |certificate| {
        let subject = certificate.subject();
        let user = subject.iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        (
            user,
            subject
                .iter_organization()
                .map(|o| o.as_str().unwrap().to_owned())
                .collect::<Vec<_>>(),
        )
    })
    .unwrap();
    assert_eq!(
        (user.as_str(), found),
        ("kubernetes-admin", vec!["system:masters".to_owned()])
    );
}

#[test]
fn keys_are_readable_by_the_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(&dir.path().join("pki"), "test-ca").unwrap();
    authority.serving("apiserver", &names(&["localhost"])).unwrap();
    service_account_key(&dir.path().join("pki/sa.key")).unwrap();
    for key in ["ca.key", "apiserver.key", "sa.key"] {
        let mode = fs::metadata(dir.path().join("pki").join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
}

#[test]
fn a_certificate_near_its_end_is_not_good() {
    let identity = make_authority("short").unwrap();
    let now = SystemTime::now();
    assert!(still_good(&identity.cert_pem, now));
    assert!(!still_good(
        &identity.cert_pem,
        now + AUTHORITY_LIFETIME - RENEW_BEFORE + Duration::from_secs(DAY)
    ));
    assert!(!still_good("no certificate", now));
}

#[test]
fn an_unusable_signing_key_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sa.key");
    fs::write(&path, "garbage").unwrap();
    assert!(service_account_key(&path).unwrap_err().to_string().contains("sa.key"));
}
