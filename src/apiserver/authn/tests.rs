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

mod hostile {
    //! Bytes from anybody: nothing may panic, and nobody may become somebody by damage.

    use proptest::prelude::*;

    use super::*;

    fn certificate() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let authority = crate::pki::Authority::open(dir.path(), "ca").unwrap();
        let identity = authority.issue_client("alice", "devs").unwrap();
        x509_parser::pem::parse_x509_pem(identity.cert_pem.as_bytes())
            .unwrap()
            .1
            .contents
    }

    fn tokens() -> ServiceAccountTokens {
        let mut keys = service_account::Keys::default();
        keys.set_signer(&rcgen::KeyPair::generate().unwrap().serialize_pem())
            .unwrap();
        ServiceAccountTokens::new(keys, "https://us")
    }

    #[test]
    fn damaged_certificates_do_not_panic() {
        let whole = certificate();
        assert!(x509::user(&whole).is_some());
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                let _ = x509::user(&damaged);
                let _ = x509::user(&whole[..at]);
            }
        }
    }

    proptest! {
        #[test]
        fn no_token_that_was_not_signed_is_accepted(
            token in prop_oneof![
                ".{0,200}",
                "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}",
            ],
        ) {
            let tokens = tokens();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let now = jiff::Timestamp::from_second(1000).unwrap();
            let verified = runtime.block_on(tokens.verify(&token, tokens.audiences(), now, &Nothing));
            prop_assert!(verified.is_err());
        }

        #[test]
        fn any_text_is_a_key_file_or_an_error(text in "(-----BEGIN [A-Z ]{0,20}-----)?.{0,100}\n?(-----END [A-Z ]{0,20}-----)?") {
            let mut keys = service_account::Keys::default();
            let _ = keys.add_verifiers(&text);
            let _ = keys.set_signer(&text);
        }

        #[test]
        fn any_header_is_read(authorization in "\\PC{0,60}") {
            let credentials = Credentials { certificate: None, authorization: Some(&authorization) };
            if let Some(token) = credentials.bearer_token() {
                prop_assert!(!token.is_empty() && !token.contains(' '));
            }
        }
    }
}
