//! Which address a node listens on, and which one it calls its own.
//!
//! The driver learns a node's address from the node itself (`broadcast_rpc_address`, or else `rpc_address`), and refuses
//! whoever is not on its list. Both must be known: the one to dial, and the one to allow.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::Context as _;

use crate::config::cassandra_yaml::CassandraYaml;

/// Cassandra's own default.
const PORT: u16 = 9042;

/// What the configuration says instead of `cassandra.yaml`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
}

/// Where to find one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub dialed: SocketAddr,
    /// What it calls itself.
    pub named: SocketAddr,
}

impl Target {
    /// From the configuration, then `cassandra.yaml`, then Cassandra's defaults. Names are resolved.
    pub fn find(address: &Address, yaml: Option<&CassandraYaml>) -> anyhow::Result<Self> {
        let of_node = yaml.map(|yaml| &yaml.native_transport);
        let port = address.port.or(of_node.and_then(|node| node.port)).unwrap_or(PORT);
        let listens = of_node.and_then(|node| node.rpc_address.as_deref());
        let own = of_node.and_then(|node| node.broadcast_rpc_address.as_deref()).or(listens);
        let dialed = resolve(address.host.as_deref().or(listens).unwrap_or("localhost"), port)?;
        let named = match own {
            // What listens everywhere is not called so, and Cassandra asks for a broadcast address then.
            Some(own) => resolve(own, port).ok().filter(|named| !named.ip().is_unspecified()).unwrap_or(dialed),
            None => dialed,
        };
        // What listens everywhere also listens here.
        let dialed = match dialed.ip().is_unspecified() {
            true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            false => dialed,
        };
        Ok(Self { dialed, named })
    }
}

fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let place = || format!("the CQL address `{host}`");
    let found = (host, port).to_socket_addrs().with_context(place)?;
    let mut found: Vec<SocketAddr> = found.collect();
    // Cassandra takes IPv4 where a name has both.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cassandra_yaml::NativeTransport;

    #[test]
    fn who_wins() {
        let check =
            |host: Option<&str>, port, rpc: Option<&str>, broadcast: Option<&str>, dialed: &str, named: &str| {
                let yaml = CassandraYaml {
                    local_system_directory: None,
                    cluster_name: String::new(),
                    data_directories: Vec::new(),
                    native_transport: NativeTransport {
                        rpc_address: rpc.map(str::to_owned),
                        broadcast_rpc_address: broadcast.map(str::to_owned),
                        port: Some(9142),
                    },
                };
                let address = Address { host: host.map(str::to_owned), port };
                let target = Target::find(&address, Some(&yaml)).expect("found");
                assert_eq!((target.dialed.to_string().as_str(), target.named.to_string().as_str()), (dialed, named));
            };
        check(None, None, Some("127.0.0.5"), None, "127.0.0.5:9142", "127.0.0.5:9142");
        check(None, None, Some("0.0.0.0"), Some("10.0.0.1"), "127.0.0.1:9142", "10.0.0.1:9142");
        check(Some("127.0.0.9"), Some(1), Some("127.0.0.5"), None, "127.0.0.9:1", "127.0.0.5:1");
        check(None, None, None, None, "127.0.0.1:9142", "127.0.0.1:9142");
        let target = Target::find(&Address::default(), None).expect("found");
        assert_eq!(target.dialed.to_string(), "127.0.0.1:9042");
    }
}
