//! The static token file: `token,user,uid,"group1,group2"`, one line each, as kube-apiserver reads it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use super::UserInfo;

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read token file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line has too little in it.
    #[error(
        "token file '{}' must have at least 3 columns (token, user name, user uid), found {columns} in line {line}",
        path.display()
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// How many columns it has.
        columns: usize,
    },
}

/// Users by token.
#[derive(Debug, Default)]
pub struct TokenFile {
    users: HashMap<String, UserInfo>,
}

impl TokenFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or a line has less than three columns.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|(line, columns)| Error::Columns {
            path: path.to_owned(),
            line,
            columns,
        })
    }

    /// Parses the text of a file; the error is a line and how many columns it has.
    fn parse(text: &str) -> Result<Self, (usize, usize)> {
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let mut columns = columns(line).into_iter();
            let found = columns.len();
            let (Some(token), Some(username), Some(uid)) = (columns.next(), columns.next(), columns.next()) else {
                return Err((at + 1, found));
            };
            if token.is_empty() {
                tracing::warn!(line = at + 1, "a line of the token file has no token");
                continue;
            }
            let groups = columns.next().unwrap_or_default();
            let groups = groups
                .split(',')
                .map(str::trim)
                .filter(|g| !g.is_empty())
                .map(str::to_owned)
                .collect();
            let user = UserInfo {
                username,
                uid,
                groups,
                ..UserInfo::default()
            };
            if users.insert(token, user.authenticated()).is_some() {
                tracing::warn!(
                    line = at + 1,
                    "a token is in the token file twice: the last line counts"
                );
            }
        }
        Ok(Self { users })
    }

    /// Whose a token is.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<&UserInfo> {
        self.users.get(token)
    }
}

/// The columns of one line of CSV: quotes may enclose a column, and are doubled inside one.
fn columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let at = columns.len() - 1;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                columns[at].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            _ => columns[at].push(character),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_give_users_with_groups() {
        let file = TokenFile::parse("t1,bob,u1\n\nt2,\"al\"\"ice\",u2,\"devs, ops\"\nt3,eve,u3,one,ignored\n").unwrap();
        let user = |token| file.find(token).unwrap();
        assert_eq!((user("t1").username.as_str(), user("t1").uid.as_str()), ("bob", "u1"));
        assert_eq!(user("t1").groups, ["system:authenticated"]);
        assert_eq!(user("t2").username, "al\"ice");
        assert_eq!(user("t2").groups, ["devs", "ops", "system:authenticated"]);
        assert_eq!(user("t3").groups[0], "one");
        assert_eq!(file.find("t4"), None);
    }

    #[test]
    fn a_line_without_a_uid_is_refused_by_number() {
        assert_eq!(TokenFile::parse("t,bob,u\nt,bob\n").unwrap_err(), (2, 2));
    }

    #[test]
    fn an_empty_token_is_nobodys() {
        assert_eq!(TokenFile::parse(",bob,u1\n").unwrap().find(""), None);
    }
}
