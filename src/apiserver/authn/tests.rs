use super::*;

struct Nothing;

#[async_trait]
impl TokenObjects for Nothing {
    async fn get(&self, _: service_account::TokenObject, _: &str, _: &str) -> Option<apimachinery::Object> {
        None
    }
}

fn authentication(anonymous: bool) -> Authentication {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens.csv");
    std::fs::write(&path, "secret,bob,u1\n").unwrap();
    let mut keys = service_account::Keys::default();
    keys.set_signer(&rcgen::KeyPair::generate().unwrap().serialize_pem())
        .unwrap();
    let service_accounts = Arc::new(ServiceAccountTokens::new(keys, "https://us"));
    Authentication::new(
        TokenFile::read(&path).unwrap(),
        service_accounts,
        Arc::new(Nothing),
        anonymous,
    )
}

async fn user(authentication: &Authentication, authorization: Option<&str>) -> Result<String, Unauthorized> {
    let credentials = Credentials {
        certificate: None,
        authorization,
    };
    authentication.authenticate(credentials).await.map(|user| user.username)
}

#[tokio::test]
async fn tokens_name_users_and_wrong_ones_are_not_anonymous() {
    let open = authentication(true);
    assert_eq!(user(&open, Some("Bearer secret")).await.unwrap(), "bob");
    assert_eq!(user(&open, Some("bearer  secret")).await, Ok("system:anonymous".into()));
    assert_eq!(user(&open, Some("Bearer wrong")).await, Err(Unauthorized));
    assert_eq!(user(&open, None).await.unwrap(), "system:anonymous");
    assert_eq!(user(&authentication(false), None).await, Err(Unauthorized));
}

#[tokio::test]
async fn a_certificate_goes_before_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let authority = crate::pki::Authority::open(dir.path(), "ca").unwrap();
    let identity = authority.issue_client("alice", "devs").unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(identity.cert_pem.as_bytes()).unwrap();
    let credentials = Credentials {
        certificate: Some(&pem.contents),
        authorization: Some("Bearer secret"),
    };
    let user = authentication(true).authenticate(credentials).await.unwrap();
    assert_eq!(user.username, "alice");
    assert_eq!(user.groups, ["devs", "system:authenticated"]);
    assert!(user.extra[extra::CREDENTIAL_ID][0].starts_with("X509SHA256="));
}

#[tokio::test]
async fn a_static_token_is_for_this_server() {
    let authentication = authentication(true);
    assert_eq!(
        authentication.token("secret", &[]).await.unwrap().audiences,
        ["https://us"]
    );
    assert_eq!(
        authentication.token("secret", &["other".into()]).await,
        Err(Unauthorized)
    );
}
