//! The addresses of a minicluster: a /16 of its own out of 127.0.0.0/8, and who gets what of it.
//!
//! A range is claimed by listening on its last usable address: the kernel keeps two living
//! processes from holding the same one, and lets go of it when the process dies, however it dies.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;

/// Second octet of the first range.
const FIRST: u8 = 16;
/// Second octet of the last range.
const LAST: u8 = 254;
/// How long a process that was killed may go on holding its range.
const DYING: Duration = Duration::from_secs(2);
/// The port that a claim listens on.
const CLAIM_PORT: u16 = 10259;
/// File in the data directory that keeps the range over restarts.
const FILE: &str = "pod-cidr";

/// Why no range could be claimed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All are taken.
    #[error("all address ranges from 127.{FIRST}.0.0/16 to 127.{LAST}.0.0/16 are in use")]
    Exhausted,
    /// The choice could not be kept for the next start.
    #[error("cannot write {path}")]
    Remember {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The range is too small to be divided.
    #[error("address range {0} is smaller than a /24")]
    TooSmall(Ipv4Net),
}

/// A claimed range; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The range.
    pub(crate) range: Ipv4Net,
    _listener: TcpListener,
}

/// Claims the range that this data directory had before, or else a free one.
pub(crate) fn claim(data_dir: &Path) -> Result<Claim, Error> {
    let file = data_dir.join(FILE);
    let before = std::fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse::<Ipv4Net>().ok());
    if let Some(range) = before {
        if let Some(listener) = listen_again(range) {
            return Ok(Claim {
                range,
                _listener: listener,
            });
        }
        tracing::warn!(%range, "the address range of the last run is taken, another one is used");
    }
    // Different directories start at different places, so that they seldom ask for the same one.
    let start = data_dir
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    let count = usize::from(LAST - FIRST) + 1;
    for step in 0..count {
        let octet = FIRST + u8::try_from((start + step) % count).unwrap_or(0);
        let range = Ipv4Net::new_assert(Ipv4Addr::new(127, octet, 0, 0), 16);
        if let Some(listener) = listen(range) {
            let remembered = std::fs::write(&file, format!("{range}\n"));
            remembered.map_err(|source| Error::Remember {
                path: file.display().to_string(),
                source,
            })?;
            return Ok(Claim {
                range,
                _listener: listener,
            });
        }
    }
    Err(Error::Exhausted)
}

/// Waits a moment for a range whose last holder may just be dying.
fn listen_again(range: Ipv4Net) -> Option<TcpListener> {
    let deadline = Instant::now() + DYING;
    loop {
        let listener = listen(range);
        if listener.is_some() || Instant::now() >= deadline {
            return listener;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listen(range: Ipv4Net) -> Option<TcpListener> {
    let last = Ipv4Addr::from_bits(range.broadcast().to_bits() - 1);
    TcpListener::bind(SocketAddr::new(IpAddr::V4(last), CLAIM_PORT)).ok()
}

/// Who gets what of a range: sixteenths for nodes, load balancers, services (two) and pods (the rest).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    range: Ipv4Net,
}

/// A span of addresses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    first: u32,
    last: u32,
}

impl Layout {
    /// Divides a range.
    pub(crate) fn new(range: Ipv4Net) -> Result<Self, Error> {
        if range.prefix_len() > 24 {
            Err(Error::TooSmall(range))
        } else {
            Ok(Self { range })
        }
    }

    /// The whole range.
    pub(crate) fn range(&self) -> Ipv4Net {
        self.range
    }

    fn sixteenths(&self, from: u32, to: u32) -> Span {
        let (first, part) = (self.range.network().to_bits(), 1 << (28 - self.range.prefix_len()));
        Span {
            first: first + from * part,
            last: first + to * part - 1,
        }
    }

    /// Node addresses, without the network's own.
    pub(crate) fn nodes(&self) -> Span {
        let span = self.sixteenths(0, 1);
        Span {
            first: span.first + 1,
            ..span
        }
    }

    /// Addresses of Services of type LoadBalancer.
    pub(crate) fn load_balancers(&self) -> Span {
        let span = self.sixteenths(1, 2);
        Span {
            first: span.first + 1,
            ..span
        }
    }

    /// The range of cluster IPs.
    pub(crate) fn services(&self) -> Ipv4Net {
        let span = self.sixteenths(2, 4);
        Ipv4Net::new_assert(Ipv4Addr::from_bits(span.first), self.range.prefix_len() + 3)
    }

    /// Pod addresses, without the claim's and the broadcast address.
    pub(crate) fn pods(&self) -> Span {
        let span = self.sixteenths(4, 16);
        Span {
            first: span.first + 1,
            last: span.last - 2,
        }
    }
}

impl Span {
    /// Whether an address is in it.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.to_bits())
    }
}

/// Hands out addresses of a span, one to an owner. One that was given back is the last to be handed out again.
#[derive(Debug)]
pub(crate) struct Pool {
    span: Span,
    next: u32,
    taken: HashSet<u32>,
    held: HashMap<String, u32>,
}

impl Pool {
    /// A pool of a span.
    pub(crate) fn new(span: Span) -> Self {
        Self {
            span,
            next: span.first,
            taken: HashSet::new(),
            held: HashMap::new(),
        }
    }

    /// The address of an owner: the one it holds, else `wish` if that is free, else the next free one; `None` if all are taken.
    pub(crate) fn take(&mut self, owner: &str, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some(held) = self.held.get(owner) {
            return Some(Ipv4Addr::from_bits(*held));
        }
        let wish = wish.filter(|wish| self.span.contains(*wish)).map(Ipv4Addr::to_bits);
        let address = match wish {
            Some(wish) if self.taken.insert(wish) => wish,
            Some(_) | None => self.take_next()?,
        };
        self.held.insert(owner.to_owned(), address);
        Some(Ipv4Addr::from_bits(address))
    }

    fn take_next(&mut self) -> Option<u32> {
        for _ in self.span.first..=self.span.last {
            let candidate = self.next;
            self.next = if candidate == self.span.last {
                self.span.first
            } else {
                candidate + 1
            };
            if self.taken.insert(candidate) {
                return Some(candidate);
            }
        }
        None
    }

    /// Gives back what an owner holds.
    pub(crate) fn release(&mut self, owner: &str) {
        if let Some(address) = self.held.remove(owner) {
            self.taken.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_directories_never_share_and_one_gets_its_own_back() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = claim(one.path()).unwrap();
        let second = claim(two.path()).unwrap();
        assert_ne!(first.range, second.range);
        let range = first.range;
        drop(first);
        assert_eq!(claim(one.path()).unwrap().range, range);
    }

    #[test]
    fn a_range_that_is_taken_is_given_up() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = claim(one.path()).unwrap();
        std::fs::copy(one.path().join(FILE), two.path().join(FILE)).unwrap();
        assert_ne!(claim(two.path()).unwrap().range, first.range);
    }

    #[test]
    fn spans_do_not_overlap() {
        let layout = Layout::new("127.20.0.0/16".parse().unwrap()).unwrap();
        let text = |bits: u32| Ipv4Addr::from_bits(bits).to_string();
        assert_eq!(
            (text(layout.nodes().first), text(layout.nodes().last)),
            ("127.20.0.1".into(), "127.20.15.255".into())
        );
        assert_eq!(text(layout.load_balancers().first), "127.20.16.1");
        assert_eq!(layout.services().to_string(), "127.20.32.0/19");
        assert_eq!(
            (text(layout.pods().first), text(layout.pods().last)),
            ("127.20.64.1".into(), "127.20.255.253".into())
        );
        assert!(Layout::new("127.20.0.0/25".parse().unwrap()).is_err());
    }

    #[test]
    fn a_pool_prefers_the_wish_and_reuses_late() {
        let mut pool = Pool::new(Span { first: 1, last: 3 });
        let ip = Ipv4Addr::from_bits;
        assert_eq!(pool.take("a", Some(ip(2))), Some(ip(2)));
        assert_eq!(pool.take("b", Some(ip(2))), Some(ip(1)));
        assert_eq!(pool.take("a", None), Some(ip(2)), "an owner has one address");
        pool.release("b");
        assert_eq!(pool.take("c", None), Some(ip(3)));
        assert_eq!(pool.take("d", None), Some(ip(1)));
        assert_eq!(pool.take("e", None), None);
    }
}
