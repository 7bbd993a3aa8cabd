use std::collections::HashMap;

use serde_json::json;

use super::*;

const ISSUER: &str = "https://kubernetes.default.svc";

/// Objects by resource, namespace and name.
#[derive(Default)]
struct Fake(HashMap<(&'static str, String, String), Object>);

impl Fake {
    fn with(mut self, kind: TokenObject, namespace: &str, name: &str, object: Object) -> Self {
        self.0
            .insert((kind.resource(), namespace.to_owned(), name.to_owned()), object);
        self
    }

    fn account() -> Self {
        Self::default().with(
            TokenObject::ServiceAccount,
            "apps",
            "web",
            json!({"metadata": {"uid": "u-1"}}),
        )
    }
}

#[async_trait]
impl TokenObjects for Fake {
    async fn get(&self, kind: TokenObject, namespace: &str, name: &str) -> Option<Object> {
        self.0
            .get(&(kind.resource(), namespace.to_owned(), name.to_owned()))
            .cloned()
    }
}

fn tokens() -> ServiceAccountTokens {
    let mut keys = Keys::default();
    keys.set_signer(&rcgen::KeyPair::generate().unwrap().serialize_pem())
        .unwrap();
    ServiceAccountTokens::new(keys, ISSUER)
}

fn claims(now: i64) -> Claims {
    Claims {
        audiences: vec![ISSUER.into()],
        expires: now + 600,
        issued: now,
        issuer: ISSUER.into(),
        id: "id-1".into(),
        kubernetes: Bound {
            namespace: "apps".into(),
            account: Reference {
                name: "web".into(),
                uid: "u-1".into(),
            },
            ..Bound::default()
        },
        not_before: now,
        subject: "system:serviceaccount:apps:web".into(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn verify(
    tokens: &ServiceAccountTokens,
    claims: &Claims,
    now: i64,
    objects: &Fake,
) -> Result<Authenticated, TokenError> {
    tokens
        .verify(&tokens.sign(claims).unwrap(), tokens.audiences(), at(now), objects)
        .await
}

#[tokio::test]
async fn a_signed_token_is_its_accounts() {
    let tokens = tokens();
    let user = verify(&tokens, &claims(1000), 1000, &Fake::account())
        .await
        .unwrap()
        .user;
    assert_eq!(user.username, "system:serviceaccount:apps:web");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:apps"]);
    assert_eq!(user.uid, "u-1");
    assert_eq!(user.extra[extra::CREDENTIAL_ID], ["JTI=id-1"]);
}

#[tokio::test]
async fn a_token_counts_from_its_begin_to_its_end_only() {
    let (tokens, objects) = (tokens(), Fake::account());
    for (now, good) in [(999, false), (1000, true), (1599, true), (1600, false)] {
        assert_eq!(
            verify(&tokens, &claims(1000), now, &objects).await.is_ok(),
            good,
            "at {now}"
        );
    }
}

#[tokio::test]
async fn tokens_of_other_keys_issuers_and_audiences_are_refused() {
    let (ours, objects) = (tokens(), Fake::account());
    let foreign = tokens().sign(&claims(1000)).unwrap();
    let refused = ours.verify(&foreign, ours.audiences(), at(1000), &objects).await;
    assert_eq!(refused, Err(TokenError::Signature));
    let issuer = Claims {
        issuer: "other".into(),
        ..claims(1000)
    };
    assert!(matches!(
        verify(&ours, &issuer, 1000, &objects).await,
        Err(TokenError::Issuer { .. })
    ));
    let audience = Claims {
        audiences: vec!["vault".into()],
        ..claims(1000)
    };
    assert!(matches!(
        verify(&ours, &audience, 1000, &objects).await,
        Err(TokenError::Audience { .. })
    ));
    let for_vault = ours.sign(&audience).unwrap();
    let wanted = ["vault".to_owned(), "other".to_owned()];
    assert_eq!(
        ours.verify(&for_vault, &wanted, at(1000), &objects)
            .await
            .unwrap()
            .audiences,
        ["vault"]
    );
}

#[tokio::test]
async fn a_token_dies_with_its_account_and_its_pod() {
    let tokens = tokens();
    assert!(verify(&tokens, &claims(1000), 1000, &Fake::default()).await.is_err());
    let again = Fake::default().with(
        TokenObject::ServiceAccount,
        "apps",
        "web",
        json!({"metadata": {"uid": "u-2"}}),
    );
    assert!(verify(&tokens, &claims(1000), 1000, &again).await.is_err());

    let mut bound = claims(1000);
    bound.kubernetes.pod = Some(Reference {
        name: "web-0".into(),
        uid: "p-1".into(),
    });
    assert!(verify(&tokens, &bound, 1000, &Fake::account()).await.is_err());
    let with_pod = Fake::account().with(TokenObject::Pod, "apps", "web-0", json!({"metadata": {"uid": "p-1"}}));
    let user = verify(&tokens, &bound, 1000, &with_pod).await.unwrap().user;
    assert_eq!(user.extra[extra::POD_NAME], ["web-0"]);
}

#[tokio::test]
async fn a_legacy_token_needs_its_secret() {
    use base64::Engine as _;
    let tokens = tokens();
    let token = tokens.sign_legacy("apps", "web", "u-1", "web-token").unwrap();
    let refused = tokens
        .verify(&token, tokens.audiences(), at(1000), &Fake::account())
        .await;
    assert!(matches!(
        refused,
        Err(TokenError::Object {
            resource: "secrets",
            ..
        })
    ));
    let data = base64::engine::general_purpose::STANDARD.encode(&token);
    let objects = Fake::account().with(
        TokenObject::Secret,
        "apps",
        "web-token",
        json!({"data": {"token": data}}),
    );
    let user = tokens
        .verify(&token, tokens.audiences(), at(1000), &objects)
        .await
        .unwrap()
        .user;
    assert_eq!(user.username, "system:serviceaccount:apps:web");
}

#[tokio::test]
async fn public_keys_of_another_server_verify_its_tokens() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut signing = Keys::default();
    signing.set_signer(&pair.serialize_pem()).unwrap();
    let mut verifying = Keys::default();
    verifying.add_verifiers(&pair.public_key_pem()).unwrap();
    assert_eq!(signing.jwks(), verifying.jwks());
    let token = ServiceAccountTokens::new(signing, ISSUER).sign(&claims(1000)).unwrap();
    let other = ServiceAccountTokens::new(verifying, ISSUER);
    assert!(
        other
            .verify(&token, other.audiences(), at(1000), &Fake::account())
            .await
            .is_ok()
    );
    assert!(matches!(other.sign(&claims(1000)), Err(KeyError::Unknown)));
}

#[test]
fn what_is_no_key_is_refused() {
    let mut keys = Keys::default();
    assert!(keys.set_signer("garbage").is_err());
    assert!(
        keys.add_verifiers("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
            .is_err()
    );
    assert!(keys.add_verifiers("").is_err());
}

#[tokio::test]
async fn an_unsigned_or_mangled_token_is_refused() {
    let tokens = tokens();
    let token = tokens.sign(&claims(1000)).unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
    let mangled = format!("{}x", &token[..token.len() - 1]);
    for bad in [unsigned.as_str(), &mangled, "", "..", "a.b.c"] {
        let refused = tokens.verify(bad, tokens.audiences(), at(1000), &Fake::account()).await;
        assert_eq!(refused, Err(TokenError::Signature), "{bad}");
    }
}
