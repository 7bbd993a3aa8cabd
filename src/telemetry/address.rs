//! Addresses to listen on, as flags give them.

use std::net::{IpAddr, SocketAddr};

/// Reads `ADDRESS:PORT`. The brackets around an IPv6 address may be missing: a manifest that says `$(POD_IP):8080`
/// cannot know whether they are needed.
///
/// # Errors
/// If it is not an address and a port.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let bare = || -> Option<SocketAddr> {
        let (address, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
    };
    text.parse()
        .ok()
        .or_else(bare)
        .ok_or_else(|| format!("{text:?} is not of the form ADDRESS:PORT"))
}

#[cfg(test)]
mod tests {
    use super::socket_address;

    #[test]
    fn a_pods_address_of_either_family_makes_an_address_to_listen_on() {
        for (text, meant) in [
            ("10.0.0.1:10254", "10.0.0.1:10254"),
            ("[fd00::5]:10254", "[fd00::5]:10254"),
            ("fd00::5:10254", "[fd00::5]:10254"),
            ("::1:0", "[::1]:0"),
        ] {
            assert_eq!(socket_address(text), Ok(meant.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn what_lacks_an_address_or_a_port_is_refused() {
        for text in ["", "10254", ":10254", "10.0.0.1", "10.0.0.1:70000", "$(POD_IP):10254"] {
            assert!(socket_address(text).is_err(), "{text}");
        }
    }
}
