//! Acting as somebody else: the `Impersonate-*` headers.

use apimachinery::status::Status;
use http::HeaderMap;

use super::{UserInfo, groups, users};
use crate::authz::{Attributes, Authorizer, Resource, Target, forbidden};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";

/// Whom a request wants to act as, before anything is added; `None` if it does not.
///
/// # Errors
/// 400 if groups, uid or extra come without a user.
pub fn requested(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let first = |name| headers.get(name).map(text).unwrap_or_default();
    let mut user = UserInfo {
        username: first(USER),
        uid: first(UID),
        groups: headers.get_all(GROUP).iter().map(text).collect(),
        ..UserInfo::default()
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            user.extra.entry(percent_decode(key)).or_default().push(text(value));
        }
    }
    if user.username.is_empty() {
        if user == UserInfo::default() {
            return Ok(None);
        }
        let groups = user
            .groups
            .iter()
            .map(|group| format!("{group:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Status::bad_request(format!(
            "requested &user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:[]string{{{groups}}}, Extra:map[string][]string(nil)}} without impersonating a user name",
            user.uid
        )));
    }
    Ok(Some(user))
}

/// Whom the request acts as in the end.
///
/// # Errors
/// 403 if the user may not impersonate every part of `wanted`.
pub fn allowed(authorizer: &dyn Authorizer, original: &Attributes<'_>, wanted: UserInfo) -> Result<UserInfo, Status> {
    let account = wanted.as_service_account();
    let may = |resource: Resource<'_>| {
        let attributes = Attributes {
            user: original.user,
            verb: "impersonate",
            target: Target::Resource(resource),
        };
        authorizer.authorize(&attributes).is_allowed()
    };
    let as_user = match account {
        Some((namespace, name)) => may(Resource {
            resource: "serviceaccounts",
            namespace,
            name,
            ..Resource::default()
        }),
        None => may(Resource {
            resource: "users",
            name: &wanted.username,
            ..Resource::default()
        }),
    };
    let special = |resource, subresource, name| {
        may(Resource {
            group: AUTHENTICATION_GROUP,
            version: "v1",
            resource,
            subresource,
            name,
            ..Resource::default()
        })
    };
    let as_groups = wanted.groups.iter().all(|name| {
        may(Resource {
            resource: "groups",
            name,
            ..Resource::default()
        })
    });
    let as_uid = wanted.uid.is_empty() || special("uids", "", &wanted.uid);
    let mut extra = wanted
        .extra
        .iter()
        .flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    let with_extra = extra.all(|(key, value)| special("userextras", key, value));
    if as_user && as_groups && as_uid && with_extra {
        return Ok(complete(wanted));
    }
    let mode = if account.is_some() {
        "serviceaccount"
    } else {
        "user-info"
    };
    let verb = format!("impersonate-on:{mode}:{}", original.verb);
    Err(forbidden(
        &Attributes {
            verb: &verb,
            ..original.clone()
        },
        "",
    ))
}

/// Adds the groups that a user of this name has anyway.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, name)) = user.as_service_account()
    {
        user.groups = UserInfo::service_account(namespace, name, "").groups;
    }
    if user.username == users::ANONYMOUS {
        if !user.in_group(groups::UNAUTHENTICATED) {
            user.groups.push(groups::UNAUTHENTICATED.into());
        }
        return user;
    }
    user.authenticated()
}

/// Header names cannot hold every character, so keys come percent-encoded; what is not well encoded stays.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let encoded = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = encoded.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{AlwaysAllow, Decision};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    /// Allows what it is told to.
    struct Only(&'static str, &'static str);

    impl Authorizer for Only {
        fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            let allowed = matches!(attributes.target, Target::Resource(r) if r.resource == self.0 && r.name == self.1);
            let reason = String::new();
            if allowed {
                Decision::Allow { reason }
            } else {
                Decision::NoOpinion { reason }
            }
        }
    }

    fn act(authorizer: &dyn Authorizer, pairs: &[(&'static str, &'static str)]) -> Result<UserInfo, Status> {
        let user = UserInfo {
            username: "bob".into(),
            ..UserInfo::default()
        };
        let target = Target::Resource(Resource {
            resource: "namespaces",
            version: "v1",
            ..Resource::default()
        });
        let original = Attributes {
            user: &user,
            verb: "list",
            target,
        };
        allowed(authorizer, &original, requested(&headers(pairs))?.unwrap())
    }

    #[test]
    fn everything_about_a_user_can_be_taken_over() {
        let pairs = [
            ("impersonate-user", "alice"),
            ("impersonate-group", "devs"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "u1"),
            ("impersonate-extra-acme.com%2fproject", "one"),
        ];
        let user = act(&AlwaysAllow, &pairs).unwrap();
        assert_eq!((user.username.as_str(), user.uid.as_str()), ("alice", "u1"));
        assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(user.extra["acme.com/project"], ["one"]);
    }

    #[test]
    fn accounts_and_anonymous_get_their_own_groups() {
        let account = act(&AlwaysAllow, &[("impersonate-user", "system:serviceaccount:a:b")]).unwrap();
        assert_eq!(
            account.groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:a",
                "system:authenticated"
            ]
        );
        let anonymous = act(&AlwaysAllow, &[("impersonate-user", "system:anonymous")]).unwrap();
        assert_eq!(anonymous.groups, ["system:unauthenticated"]);
    }

    #[test]
    fn every_part_must_be_allowed() {
        assert!(act(&Only("users", "alice"), &[("impersonate-user", "alice")]).is_ok());
        let refused = act(
            &Only("users", "alice"),
            &[("impersonate-user", "alice"), ("impersonate-group", "ops")],
        );
        let expected = "namespaces is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \
                        \"namespaces\" in API group \"\" at the cluster scope";
        assert_eq!(refused.unwrap_err().message, expected);
    }

    #[test]
    fn a_group_without_a_user_is_a_bad_request() {
        assert_eq!(requested(&headers(&[])).unwrap(), None);
        assert_eq!(
            requested(&headers(&[("impersonate-group", "g")])).unwrap_err().code,
            400
        );
    }
}
