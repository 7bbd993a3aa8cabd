//! The files of a volume.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path};

use k8s_openapi::api::core::v1::KeyToPath;

use super::Error;

/// Contents by path below the volume.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The files that an object's data makes: all keys, or the items that are listed.
pub(super) fn pick(
    volume: &str,
    (kind, name): (&'static str, &str),
    data: Option<Files>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<Files, Error> {
    let optional = optional == Some(true);
    let Some(mut data) = data else {
        let missing = || Error::NotFound {
            volume: volume.to_owned(),
            kind,
            name: name.to_owned(),
        };
        return if optional { Ok(Files::new()) } else { Err(missing()) };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data);
    };
    let mut files = Files::new();
    for item in items {
        match data.remove(&item.key) {
            Some(bytes) => drop(files.insert(item.path.clone(), bytes)),
            None if optional => {}
            None => {
                return Err(Error::MissingKey {
                    volume: volume.to_owned(),
                    key: item.key.clone(),
                });
            }
        }
    }
    Ok(files)
}

/// Makes a directory that only we may enter.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    let made = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)));
    made.map_err(|source| Error::Write {
        path: dir.to_owned(),
        source,
    })
}

/// Writes files that changed, each at once: a reader sees the old or the new one. Paths that lead out are skipped.
pub(super) fn write_all(dir: &Path, files: &Files) -> Result<(), Error> {
    for (name, bytes) in files {
        let relative = Path::new(name);
        if !relative
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
        {
            continue;
        }
        let path = dir.join(relative);
        if std::fs::read(&path).is_ok_and(|held| held == *bytes) {
            continue;
        }
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        let new = path.with_extension("new");
        let written = std::fs::write(&new, bytes)
            .and_then(|()| std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)))
            .and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(keys: &[&str]) -> Files {
        keys.iter()
            .map(|key| ((*key).to_owned(), key.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn items_choose_keys_and_paths() {
        let items = [KeyToPath {
            key: "a".into(),
            path: "dir/b".into(),
            mode: None,
        }];
        assert_eq!(
            pick("v", ("secret", "s"), Some(files(&["a", "x"])), Some(&items), None).unwrap()["dir/b"],
            b"a"
        );
        let missing = pick("v", ("secret", "s"), Some(files(&["x"])), Some(&items), None).unwrap_err();
        assert!(missing.to_string().contains("references non-existent config key: a"));
        let gone = pick("v", ("secret", "s"), None, None, None).unwrap_err();
        assert_eq!(
            gone.to_string(),
            "MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found"
        );
        assert!(pick("v", ("secret", "s"), None, None, Some(true)).unwrap().is_empty());
    }

    #[test]
    fn files_stay_inside_and_belong_to_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), &files(&["token", "../outside", "/etc/passwd", "sub/key"])).unwrap();
        assert!(!dir.path().join("../outside").exists());
        assert_eq!(std::fs::read(dir.path().join("sub/key")).unwrap(), b"sub/key");
        let mode = std::fs::metadata(dir.path().join("token"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
